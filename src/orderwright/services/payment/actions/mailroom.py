"""The mailroom works through what providers told us, and asks them where that has to be.

Invariant: an event that was kept is worked on until it is done, or until a person has to look at it.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from orderwright.kernel.errors import Unavailable
from orderwright.kernel.unit import UnitOfWork, Units
from orderwright.services.payment.actions import charges, webhooks
from orderwright.services.payment.actions.cashier import Cashier
from orderwright.services.payment.domain import Payment
from orderwright.services.payment.store import webhooks as box
from orderwright.services.payment.store.webhooks import Webhook

BATCH = 20


class Mailroom:
    """Sees to webhooks."""

    def __init__(self, units: Units, cashier: Cashier, *, park_for: timedelta) -> None:
        self._units = units
        self._cashier = cashier
        self._park_for = park_for

    async def take_up(self) -> None:
        """At the start: what a crash left in hand is taken up at once, if nobody else can be at work on it."""
        if self._units.database.exclusive:
            now = self._units.clock.now()
            await self._units.database.write(lambda connection: box.release(connection, now))

    async def work(self) -> bool:
        """Settle the events that are due; answers whether more may be."""
        now = self._units.clock.now()
        due = await self._units.database.write(
            lambda connection: box.claim_due(connection, now, limit=BATCH, lease=charges.LEASE)
        )
        if due:
            for webhook, payment in await self._units.run(partial(self._settle, due)):
                await self._ask(webhook, payment)
        return len(due) == BATCH

    def _settle(self, due: Sequence[Webhook], uow: UnitOfWork) -> list[tuple[Webhook, Payment]]:
        return webhooks.settle(uow, due, self._park_for)

    async def _ask(self, webhook: Webhook, payment: Payment) -> None:
        try:
            await self._cashier.find_out(payment)
            answered = True
        except Unavailable:
            answered = False
        await self._units.run(lambda uow: webhooks.asked(uow, webhook, self._park_for, answered=answered))
