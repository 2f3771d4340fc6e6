"""Several copies of the order service hear of one thing at the same moment."""

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.catalog import ProductCreated, ProductUpdated
from orderwright.contracts.inventory import StockDeducted, StockReserved
from orderwright.contracts.payments import PaymentCompleted
from orderwright.kernel.messages import Message, encode
from orderwright.kernel.tables import inbox
from orderwright.kernel.telemetry import configure_logs
from orderwright.kernel.testing import ServiceBench
from orderwright.services.order.manifest import assemble
from orderwright.services.order.tables import order_events, orders, products
from tests.crossing import behind_a_handler, crossing, two_copies

CREATED = ProductCreated(product_id="p", name="Mug", price=Decimal("10.00"), quantity=5)
UPDATED = ProductUpdated(product_id="p", price=Decimal("12.00"))
BODY = {"items": [{"product_id": "p", "quantity": 1}]}


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders are answered before their stock is reserved."""
    monkeypatch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "0")


async def placed(bench: ServiceBench, *, product_known: bool = False) -> str:
    if not product_known:
        await bench.hear(CREATED)
    answer = await bench.request("POST", "/orders", BODY)
    assert answer.status == 202, answer.json
    return str(answer.json["id"])


async def reserving(bench: ServiceBench) -> Message:
    """An order is placed; the message that its stock is reserved."""
    event = StockReserved(order_id=await placed(bench), items=[])
    return encode(event, id="m-1", source="/bench", time=bench.clock.now())


@pytest.mark.parametrize("later_first", [False, True])
async def test_of_two_prices_of_a_new_product_the_newer_counts(
    tmp_path: Path, database_url: str, later_first: bool
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (first, second):
        second.clock.advance(60)
        works = [first.hear(CREATED), second.hear(UPDATED)]
        await crossing(database_url, "order", "products", *(reversed(works) if later_first else works))
        [known] = await first.rows(sa.select(products))
    assert known["price"] == Decimal("12.00")


async def test_two_facts_of_one_order_that_are_heard_at_once_are_both_in_its_history(
    tmp_path: Path, database_url: str, no_waiting: None
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (first, second):
        order_id = await placed(first)
        works = [
            first.hear(StockReserved(order_id=order_id, items=[])),
            second.hear(PaymentCompleted(payment_id="p", order_id=order_id)),
        ]
        await crossing(database_url, "order", "order_events", *works)
        await first.hear(StockDeducted(order_id=order_id, items=[]))
        history = await first.rows(sa.select(order_events).order_by(order_events.c.version))
        [order] = await first.rows(sa.select(orders))
    assert [fact["version"] for fact in history] == [1, 2, 3, 4, 5]
    assert [fact["event_type"] for fact in history].count("payment_completed") == 1
    assert (order["status"], order["version"]) == ("completed", 5)


async def test_who_waits_for_another_to_handle_a_message_holds_nothing_of_its_order(
    tmp_path: Path, database_url: str, no_waiting: None
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (bench, _):
        hearing = bench.hear_again(await reserving(bench))
        await behind_a_handler(database_url, "order", "m-1", hearing, "SELECT id FROM orders FOR UPDATE")
        [order] = await bench.rows(sa.select(orders))
    assert order["status"] == "awaiting_payment"


async def test_a_message_that_two_copies_hear_at_once_is_handled_once(
    tmp_path: Path, database_url: str, no_waiting: None
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (first, second):
        message = await reserving(first)
        await crossing(database_url, "order", "inbox", first.hear_again(message), second.hear_again(message))
        history = await first.rows(sa.select(order_events))
        heard = await first.rows(sa.select(inbox).where(inbox.c.message_id == "m-1"))
    assert (len(history), len(heard)) == (2, 1)


async def test_a_request_that_two_copies_get_at_once_is_one_order(
    tmp_path: Path, database_url: str, no_waiting: None
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (first, second):
        for copy in (first, second):
            await copy.hear(CREATED)

        statuses: list[int] = []

        async def place(copy: ServiceBench) -> None:
            answer = await copy.request("POST", "/orders", BODY, headers={"idempotency-key": "once"})
            statuses.append(answer.status)

        await crossing(database_url, "order", "orders", place(first), place(second))
        made = await first.rows(sa.select(orders))
        said = [event for copy in (first, second) for event in copy.take_said()]
    assert len(made) == len(said) == 1
    # Whoever was not the first is answered the same, or told that it is being done.
    assert sorted(statuses) in ([202, 202], [202, 409])


async def test_what_happens_to_orders_every_day_needs_no_locks(
    tmp_path: Path, database_url: str, no_waiting: None, capsys: pytest.CaptureFixture[str]
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (bench, _):
        await bench.hear(CREATED)
        configure_logs(form="json", level="debug")
        order_id = await placed(bench, product_known=True)
        story = [
            StockReserved(order_id=order_id, items=[]),
            PaymentCompleted(payment_id="p", order_id=order_id),
            StockDeducted(order_id=order_id, items=[]),
        ]
        for event in story:
            await bench.hear(event)
        quiet = capsys.readouterr().err
        await bench.hear_again(*await bench.hear(story[0]))
        repeated = capsys.readouterr().err
        [order] = await bench.rows(sa.select(orders))
    assert order["status"] == "completed"
    assert "done_again_with_locks" not in quiet
    assert repeated.count("done_again_with_locks") == 1
