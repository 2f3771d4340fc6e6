"""The auditor beside customers: it rests after whatever it reads, the longer the less time the process has to spare."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from orderwright.audit.books import SANDBOX
from orderwright.audit.paging import IDS_AT_ONCE
from orderwright.audit.watch import Rests
from orderwright.kernel.clock import FrozenClock
from orderwright.services.order.tables import orders
from orderwright.services.payment.providers.sandbox import charges
from orderwright.services.payment.tables import payments
from orderwright.services.shipping.tables import shipments
from tests.audit.ledger import Ledger


class Busy(FrozenClock):
    """A clock of a process that is busy for a share of all time."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def used_s(self) -> float:
        return self.monotonic_s() * self.share

    async def rested_s(self, rests: Rests, took_s: float) -> float:
        """How long a rest takes after a page that took so long."""
        began_s = self.monotonic_s()
        await rests.rest(took_s)
        return self.monotonic_s() - began_s


@pytest.mark.parametrize(
    ("share", "times"),
    [(0.0, 3), (0.5, 6), (0.8, 15), (1.0, 60), (2.5, 60)],
    ids=["quiet", "half busy", "four fifths busy", "wholly busy", "busy on several processors"],
)
async def test_a_busy_process_is_audited_more_slowly(share: float, times: float) -> None:
    clock = Busy(share)
    rests = Rests(clock, 3, clock.used_s)
    assert await clock.rested_s(rests, 0.1) == pytest.approx(0.3), "nothing is known yet"
    assert await clock.rested_s(rests, 0.1) == pytest.approx(0.1 * times)


async def test_it_is_quick_again_when_the_rush_is_over() -> None:
    clock = Busy(1.0)
    rests = Rests(clock, 3, clock.used_s)
    await rests.rest(0.1)
    clock.share = 0.0
    await rests.rest(0.1)
    assert await clock.rested_s(rests, 0.1) == pytest.approx(0.3)


async def test_without_rests_it_goes_on_at_once() -> None:
    clock = Busy(0.5)
    assert await clock.rested_s(Rests(clock, 0, clock.used_s), 0.1) == 0


async def test_it_rests_also_after_what_it_reads_and_need_not_look_at(ledger: Ledger) -> None:
    rests: list[float] = []

    async def rest(took_s: float) -> None:
        rests.append(took_s)

    report = await ledger.audit(page=1, pause=rest)
    looked_at = sum(report.looked_at[name] for name in ("orders", "charges", "products")) + 1
    living = sa.select(sa.func.count()).select_from(shipments).where(shipments.c.status != "cancelled")
    others = [
        await ledger.ask("payment", sa.select(sa.func.count()).select_from(payments)),
        await ledger.ask("shipping", living),
        await ledger.ask(SANDBOX, sa.select(sa.func.count()).select_from(charges)),
    ]
    assert len(rests) >= looked_at + sum(-(-count // IDS_AT_ONCE) for count in others)


async def test_orders_that_are_made_meanwhile_are_the_next_audits(ledger: Ledger) -> None:
    meanwhile = datetime.now(UTC) + timedelta(minutes=3)
    for service, order_id in (("order", orders.c.id), ("payment", payments.c.order_id)):
        change = sa.update(order_id.table).where(order_id == ledger.story["completed"])
        await ledger.change(service, change.values(created_at=meanwhile))
    report = await ledger.audit()
    assert report.by_kind == {}
    assert (report.looked_at["orders"], report.looked_at["charges"]) == (len(ledger.story) - 1,) * 2
