"""What is done now and then: begin what two replicas left to each other, and forget what nobody needs any more."""

from datetime import timedelta

from orderwright.kernel.unit import Units
from orderwright.services.payment.actions import orders
from orderwright.services.payment.store import methods, webhooks

METHODS_LIVE = timedelta(days=7)
WEBHOOKS_LIVE = timedelta(days=30)
"""Longer than any provider sends the same event again."""
BATCH = 100


class Housekeeping:
    """Keeps house in the payment service."""

    def __init__(self, units: Units, provider: str) -> None:
        self._units = units
        self._provider = provider

    async def begin_left(self) -> bool:
        """Begin the charges that could be begun; answers whether more may be left."""
        return await self._units.run(lambda uow: orders.begin_left(uow, provider=self._provider, limit=BATCH)) == BATCH

    async def forget(self) -> bool:
        """Remove what is old; answers whether there was any."""
        now = self._units.clock.now()
        removed = await self._units.database.write(lambda connection: methods.forget(connection, now - METHODS_LIVE))
        removed += await self._units.database.write(lambda connection: webhooks.forget(connection, now - WEBHOOKS_LIVE))
        return removed > 0
