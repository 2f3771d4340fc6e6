"""What the order service remembers of orders on their way: it saves a reading, and is never taken for the truth."""

import gc
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.inventory import StockDeducted, StockReleased, StockReserved
from orderwright.contracts.payments import PaymentCompleted
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.recent import KEEP_FOR_S, KEEP_MOST, Recent
from orderwright.kernel.telemetry import configure_logs
from orderwright.kernel.testing import ServiceBench
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.order.actions import Book
from orderwright.services.order.manifest import assemble
from orderwright.services.order.tables import order_events, order_sagas, orders
from tests.crossing import locked, two_copies
from tests.services.order.test_order_copies import placed

HISTORY = sa.select(order_events.c.version, order_events.c.event_type).order_by(order_events.c.version)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders are answered before their stock is reserved."""
    monkeypatch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "0")


async def history(bench: ServiceBench) -> list[tuple[int, str]]:
    return [(fact["version"], fact["event_type"]) for fact in await bench.rows(HISTORY)]


async def test_an_order_on_its_way_is_not_read_again(tmp_path: Path, database_url: str) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (bench, _):
        order_id = await placed(bench)
        async with locked(database_url, "order", "order_items"):
            await bench.hear(StockReserved(order_id=order_id, items=[]))
            await bench.hear(PaymentCompleted(payment_id="p", order_id=order_id))
            await bench.hear(StockDeducted(order_id=order_id, items=[]))
        [order] = await bench.rows(sa.select(orders))
    assert (order["status"], order["version"]) == ("completed", 5)


async def test_a_message_that_means_something_only_since_another_copy_acted_is_not_passed_over(
    tmp_path: Path, database_url: str
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (first, second):
        order_id = await placed(first)
        await second.request("PUT", f"/orders/{order_id}/cancel")
        await first.hear(StockReleased(order_id=order_id, items=[]))
        [saga] = await first.rows(sa.select(order_sagas))
    assert saga["status"] == "compensated"


async def test_an_order_that_another_copy_cancelled_stays_cancelled(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (first, second):
        order_id = await placed(first)
        await second.request("PUT", f"/orders/{order_id}/cancel")
        configure_logs(form="json", level="debug")
        await first.hear(StockReserved(order_id=order_id, items=[]))
        told = capsys.readouterr().err
        [order] = await first.rows(sa.select(orders))
        facts = await history(first)
    assert order["status"] == "cancelled"
    assert facts == [(1, "order_placed"), (2, "order_cancelled"), (3, "stock_reserved")]
    assert told.count("done_again_with_locks") == 1


async def test_a_copy_that_meets_another_one_remembers_nothing_for_a_while(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (first, second):
        ids = [await placed(first)] + [await placed(first, product_known=True) for _ in range(2)]
        configure_logs(form="json", level="debug")
        told: list[int] = []
        for order_id in ids:
            await second.hear(StockReserved(order_id=order_id, items=[]))
            await first.hear(PaymentCompleted(payment_id="p", order_id=order_id))
            told.append(capsys.readouterr().err.count("done_again_with_locks"))
        statuses = {row["status"] for row in await first.rows(sa.select(orders))}
    assert told == [1, 0, 0]
    assert statuses == {"confirmed"}


async def test_what_a_database_has_lost_is_not_built_upon(tmp_path: Path, database_url: str) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (bench, _):
        order_id = await placed(bench)
        await bench.hear(StockReserved(order_id=order_id, items=[]))

        # As after a failover to a standby that had not heard of the last transaction.
        await bench.do(lambda uow: uow.connection.execute(sa.delete(order_events).where(order_events.c.version == 2)))
        await bench.do(lambda uow: uow.connection.execute(sa.update(orders).values(version=1, reserved=False)))
        await bench.hear(PaymentCompleted(payment_id="p", order_id=order_id))
        facts = await history(bench)
    assert facts == [(1, "order_placed"), (2, "payment_completed")]


async def test_what_was_rolled_back_is_not_remembered(tmp_path: Path, database_url: str) -> None:
    remembered: list[str] = []

    def work(uow: UnitOfWork, *, fails: bool) -> None:
        uow.once_committed.append(lambda: remembered.append("rolled back" if fails else "committed"))
        if fails:
            raise LookupError("on purpose")

    async with ServiceBench.open(assemble, "order", tmp_path) as bench:
        with pytest.raises(LookupError):
            await bench.do(partial(work, fails=True))
        await bench.do(partial(work, fails=False))
    assert remembered == ["committed"]


async def test_what_a_transaction_loaded_is_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    async with ServiceBench.open(assemble, "order", tmp_path) as bench:
        gc.collect()
        # What the collector finds, it keeps for us to see. What a thread still holds is nothing that it finds.
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            order_id = await placed(bench)
            await bench.hear(StockReserved(order_id=order_id, items=[]))
            gc.collect()
            found = [thing for thing in gc.garbage if isinstance(thing, Book) and order_id in thing.orders]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    assert found == []


def test_what_is_kept_is_few_and_young() -> None:
    clock = FrozenClock()
    recent: Recent[int] = Recent(clock)
    recent.keep({"old": 1})
    clock.advance(KEEP_FOR_S + 1)
    recent.keep({str(number): number for number in range(KEEP_MOST)})
    assert recent.among(["old", "0", "unknown"]) == {"0": 0}
    recent.keep({"0": 7, "one more": 1})
    assert recent.among(["0", "1", "one more"]) == {"0": 7, "one more": 1}
    recent.forget(["0", "unknown"])
    assert recent.among(["0", "2"]) == {"2": 2}


def test_what_is_distrusted_is_forgotten_and_nothing_is_kept_for_a_while() -> None:
    clock = FrozenClock()
    recent: Recent[int] = Recent(clock)
    recent.keep({"a": 1})
    recent.distrust()
    recent.keep({"b": 1})
    assert recent.among(["a", "b"]) == {}
    clock.advance(KEEP_FOR_S)
    recent.keep({"b": 2})
    assert recent.among(["a", "b"]) == {"b": 2}
