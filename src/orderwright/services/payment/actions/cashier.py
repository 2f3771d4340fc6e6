"""The cashier stands between our books and the provider: asks it outside of any transaction, and writes the answer
down.

Invariants: the first attempt charges; every later one asks first what became of the ones before, and charges again only
under the same key and only when the provider never heard of it. A call that ends without an answer changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

import structlog

from orderwright.kernel.batching import Gathered
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import DatabaseUnavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.retry import RETRY_EFFECTS
from orderwright.kernel.unit import Units
from orderwright.services.payment import store
from orderwright.services.payment.actions import charges, refunds
from orderwright.services.payment.domain import Payment
from orderwright.services.payment.providers import Outcome, PaymentProvider, ProviderTimeout, ProviderUnavailable
from orderwright.services.payment.store import Refund

log = structlog.get_logger(__name__)

BATCH = 100
AT_ONCE = 20
PROVIDER_TIMEOUT_S = 20.0


class Cashier:
    """Charges, asks and refunds."""

    def __init__(
        self, units: Units, provider: PaymentProvider, clock: Clock, ids: Ids, *, currency: str, alarm_after: timedelta
    ) -> None:
        self.provider = provider
        self._units = units
        self._clock = clock
        self._ids = ids
        self._currency = currency
        self._alarm_after = alarm_after
        self._outcomes: Gathered[tuple[str, Outcome], Payment] = Gathered(self._record)
        self._refunded: Gathered[Refund, None] = Gathered(self._record_refunds)

    async def take_up(self) -> None:
        """At the start: what a crash left under way is taken up at once, if nobody else can be at work on it."""
        if self._units.database.exclusive:
            now = self._clock.now()
            await self._units.database.write(lambda connection: store.release(connection, now))

    async def charge(self, payment: Payment, *, timeout_s: float) -> Payment | None:
        """Take the money for a charge that was just begun; None when the outcome is not known in time."""
        assert payment.method_token is not None
        assert payment.currency is not None
        key, token, amount, currency = payment.id, payment.method_token, payment.amount_minor, payment.currency
        return await self._attempt(
            payment, lambda: self.provider.charge(key, token, amount, currency), attempt=1, timeout_s=timeout_s
        )

    async def work_charges(self) -> bool:
        """Find out what becomes of the charges that are due; answers whether more may be."""
        now = self._clock.now()
        due = await self._units.database.write(
            lambda connection: store.claim_due_charges(connection, now, limit=BATCH, lease=charges.LEASE)
        )
        await self._each([partial(self._resolve, payment) for payment in due])
        return len(due) == BATCH

    async def work_refunds(self) -> bool:
        """Give back what is due; answers whether more may be."""
        now = self._clock.now()
        due = await self._units.database.write(
            lambda connection: store.claim_due_refunds(connection, now, limit=BATCH, lease=charges.LEASE)
        )
        await self._each([partial(self._give_back, refund) for refund in due])
        return len(due) == BATCH

    async def _resolve(self, payment: Payment) -> None:
        if payment.attempts == 0:
            await self.charge(payment, timeout_s=PROVIDER_TIMEOUT_S)
            return
        if self._clock.now() - payment.updated_at > self._alarm_after:
            log.error("payment_outcome_unknown", payment_id=payment.id, order_id=payment.order_id)
        assert payment.method_token is not None
        assert payment.currency is not None
        key, token, amount, currency = payment.id, payment.method_token, payment.amount_minor, payment.currency

        async def ask() -> Outcome:
            known = await self.provider.lookup(key)
            return known if known is not None else await self.provider.charge(key, token, amount, currency)

        await self._attempt(payment, ask, attempt=payment.attempts + 1, timeout_s=PROVIDER_TIMEOUT_S)

    async def _attempt(
        self, payment: Payment, ask: Callable[[], Awaitable[Outcome]], *, attempt: int, timeout_s: float
    ) -> Payment | None:
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await ask()
        except (ProviderTimeout, ProviderUnavailable, TimeoutError) as error:
            delay_s = RETRY_EFFECTS.delay_s(attempt, self._ids.jitter()) or 0.0
            log.warning("charge_undecided", payment_id=payment.id, order_id=payment.order_id, reason=str(error))
            at = self._clock.now() + timedelta(seconds=delay_s)
            await self._units.database.write(lambda connection: store.try_again_at(connection, payment.id, at))
            return None
        return await self._outcomes.submit((payment.id, outcome))

    async def _give_back(self, refund: Refund) -> None:
        try:
            async with asyncio.timeout(PROVIDER_TIMEOUT_S):
                await self.provider.refund(refund.id, refund.payment_id, refund.amount_minor)
        except (ProviderTimeout, ProviderUnavailable, TimeoutError) as error:
            delay_s = RETRY_EFFECTS.delay_s(refund.attempts + 1, self._ids.jitter()) or 0.0
            log.warning(
                "refund_postponed", payment_id=refund.payment_id, attempts=refund.attempts + 1, reason=str(error)
            )
            await self._units.run(lambda uow: refunds.postpone(uow, refund.id, delay_s))
            return
        await self._refunded.submit(refund)

    async def _each(self, work: Sequence[Callable[[], Awaitable[None]]]) -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def one(call: Callable[[], Awaitable[None]]) -> None:
            async with free:
                await call()

        for result in await asyncio.gather(*(one(call) for call in work), return_exceptions=True):
            # The lease of one that failed runs out and it is taken up again; its neighbours are done.
            if isinstance(result, DatabaseUnavailable):
                log.warning("provider_call_not_recorded", reason=str(result))
            elif isinstance(result, BaseException):
                log.error("provider_call_failed", error=repr(result))

    async def _record(self, outcomes: Sequence[tuple[str, Outcome]]) -> Sequence[Payment]:
        return await self._units.run(lambda uow: charges.record_outcomes(uow, outcomes))

    async def _record_refunds(self, done: Sequence[Refund]) -> Sequence[None]:
        await self._units.run(lambda uow: refunds.record_done(uow, done, self._currency))
        return [None] * len(done)
