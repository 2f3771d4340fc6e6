"""What looks wrong for a moment is no finding: it is looked at again, and what moves is under way."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from orderwright.audit.auditor import LOOKS, Auditor
from orderwright.audit.books import SANDBOX
from orderwright.audit.findings import MOST_NAMED, Finding, Report
from orderwright.audit.settings import AuditSettings
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.tables import inbox
from orderwright.services.catalog.tables import products
from orderwright.services.order.tables import orders
from orderwright.services.shipping.tables import shipments
from tests.audit.ledger import Ledger


class Meanwhile(FrozenClock):
    """Time in which something happens whenever somebody waits."""

    def __init__(self, happens: Callable[[], Awaitable[None]], *, later: timedelta = timedelta(minutes=2)) -> None:
        super().__init__(datetime.now(UTC) + later)
        self.waited_s: list[float] = []
        self._happens = happens

    async def sleep(self, seconds: float) -> None:
        self.waited_s.append(seconds)
        await self._happens()
        await super().sleep(seconds)


async def test_what_is_put_right_between_two_looks_is_no_finding(ledger: Ledger) -> None:
    order_id = ledger.story["completed"]
    await ledger.change("shipping", _sets(order_id, "cancelled"))
    report = await _audit(ledger, Meanwhile(lambda: ledger.change("shipping", _sets(order_id, "pending"))))
    assert (report.by_kind, report.suspects, report.under_way) == ({}, 1, 0)


async def test_what_moves_at_every_look_is_under_way_and_no_finding(ledger: Ledger) -> None:
    order_id = ledger.story["completed"]
    await ledger.change("shipping", _sets(order_id, "cancelled"))
    begun = datetime.now(UTC) - timedelta(days=1)
    moved: list[int] = []

    async def moves() -> None:
        moved.append(1)
        its = shipments.c.order_id == order_id
        at = begun + timedelta(seconds=len(moved))
        await ledger.change("shipping", sa.update(shipments).where(its).values(updated_at=at))

    report = await _audit(ledger, Meanwhile(moves))
    assert (report.by_kind, report.under_way, len(moved)) == ({}, 1, LOOKS - 1)


async def test_what_stopped_moving_and_is_still_wrong_is_found(ledger: Ledger) -> None:
    order_id = ledger.story["completed"]
    await ledger.change("shipping", _sets(order_id, "cancelled"))

    async def goes_once() -> None:
        if len(clock.waited_s) == 1:
            await ledger.change("shipping", sa.delete(shipments).where(shipments.c.order_id == order_id))

    clock = Meanwhile(goes_once)
    report = await _audit(ledger, clock)
    assert [(f.kind, f.detail) for f in report.findings] == [
        ("shipment_missing", "the order is completed, its shipment is none")
    ]
    assert clock.waited_s == [5.0, 5.0]


async def test_what_changed_within_the_grace_is_not_judged(ledger: Ledger) -> None:
    order_id = ledger.story["completed"]
    at = datetime.now(UTC) + timedelta(minutes=1, seconds=30)
    await ledger.change("shipping", _sets(order_id, "cancelled", at=at))
    report = await _audit(ledger, Meanwhile(_nothing))
    assert (report.by_kind, report.suspects) == ({}, 0)
    assert (await _audit(ledger, Meanwhile(_nothing, later=timedelta(minutes=4)))).by_kind == {"shipment_missing": 1}


async def test_a_level_must_look_wrong_for_the_whole_grace(ledger: Ledger) -> None:
    change = sa.update(products).where(products.c.id == "product-123")
    right = int(await ledger.ask("catalog", sa.select(products.c.quantity).where(products.c.id == "product-123")))
    await ledger.change("catalog", change.values(quantity=3))

    async def is_told_late() -> None:
        if clock.waited_s[-1] == 60.0:
            await ledger.change("catalog", change.values(quantity=right))

    clock = Meanwhile(is_told_late)
    assert (await _audit(ledger, clock)).clean
    assert clock.waited_s == [5.0, 60.0]


async def test_while_somebody_hears_late_more_is_under_way_and_that_is_said(ledger: Ledger) -> None:
    order_id, now = ledger.story["completed"], datetime.now(UTC)
    said_at = now - timedelta(minutes=10)
    id_ = f"{int(said_at.timestamp() * 1000):012x}"
    heard = {"message_id": f"{id_[:8]}-{id_[8:]}-7000-8000-000000000001", "source": "/order", "received_at": now}
    await ledger.change("notification", sa.insert(inbox).values(heard))
    await ledger.change("shipping", _sets(order_id, "cancelled", at=now - timedelta(minutes=5)))
    report = await _audit(ledger, Meanwhile(_nothing, later=timedelta(seconds=30)))
    assert report.by_kind == {}
    assert report.notes == ["notification hears 600 s late; what is younger was not judged"]


async def test_several_audits_together_read_every_history(ledger: Ledger) -> None:
    change = sa.update(orders).where(orders.c.id == ledger.story["completed"])
    await ledger.change("order", change.values(tracking_number="none of its history"))
    auditor = Auditor(ledger.url, AuditSettings(histories=3), Meanwhile(_nothing), provider=SANDBOX)
    kinds = [(await auditor.run()).by_kind for _ in range(3)]
    assert sorted(found["history_differs"] for found in kinds) == [0, 0, 1]


def test_a_report_names_so_many_of_a_kind_and_counts_all() -> None:
    report = Report(datetime.now(UTC))
    for number in range(MOST_NAMED + 5):
        report.add(Finding("dead_letter", f"message {number}", "x"))
    assert (report.by_kind["dead_letter"], len(report.findings)) == (MOST_NAMED + 5, MOST_NAMED)


async def _audit(ledger: Ledger, clock: FrozenClock) -> Report:
    return await Auditor(ledger.url, AuditSettings(histories=0), clock, provider=SANDBOX).run()


def _sets(order_id: str, status: str, *, at: datetime | None = None) -> sa.Update:
    change = sa.update(shipments).where(shipments.c.order_id == order_id).values(status=status)
    return change if at is None else change.values(updated_at=at)


async def _nothing() -> None:
    """Time passes, and that is all."""
