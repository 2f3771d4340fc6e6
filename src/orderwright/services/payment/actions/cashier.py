"""The cashier stands between our books and the provider: asks it outside of any transaction, and writes the answer
down.

Invariants: what was never sent is charged; whatever may have been sent is asked for first, and charged again only under
the same key, only when the provider never heard of it, and never for a cancelled order. A call that ends without an
answer, however it ends, leaves the outcome unknown and changes nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from orderwright.kernel.batching import Gathered
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import BusinessError, DatabaseUnavailable, Unavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.retry import RETRY_EFFECTS
from orderwright.kernel.unit import Units
from orderwright.services.payment.actions import charges, refunds
from orderwright.services.payment.domain import Payment
from orderwright.services.payment.providers import Outcome, PaymentProvider, ProviderUnavailable
from orderwright.services.payment.store import payments as kept
from orderwright.services.payment.store import refunds as ledger
from orderwright.services.payment.store.refunds import Refund

log = structlog.get_logger(__name__)

BATCH = 100
PROVIDER_TIMEOUT_S = 20.0
BEGIN_WITHIN_S = charges.LEASE.total_seconds() - PROVIDER_TIMEOUT_S
"""Whatever waited for longer is put back: its call would not be over before its lease is."""


class Cashier:
    """Charges, asks and refunds."""

    def __init__(self, units: Units, provider: PaymentProvider, clock: Clock, ids: Ids, *, currency: str) -> None:
        self.provider = provider
        self._units = units
        self._clock = clock
        self._ids = ids
        self._currency = currency
        self._outcomes: Gathered[tuple[str, Outcome], Payment] = Gathered(self._record)
        self._refunded: Gathered[Refund, None] = Gathered(self._record_refunds)

    async def take_up(self) -> None:
        """At the start: what a crash left under way is taken up at once, if nobody else can be at work on it."""
        if self._units.database.exclusive:
            now = self._clock.now()
            await self._units.database.write(lambda connection: kept.release(connection, now))
            await self._units.database.write(lambda connection: ledger.release(connection, now))

    async def charge(self, payment: Payment, *, timeout_s: float) -> Payment | None:
        """Take the money for a charge that was just begun; None when the outcome is not known in time."""
        return await self._attempt(payment, partial(self._charge, payment), attempt=1, timeout_s=timeout_s)

    async def work_charges(self) -> bool:
        """Find out what becomes of the charges that are due; answers whether more may be."""
        now = self._clock.now()
        due = await self._units.database.write(
            lambda connection: kept.claim_due(connection, now, limit=BATCH, lease=charges.LEASE)
        )
        put_back = [partial(self._not_sent, payment, now) for payment in due]
        await self._each([partial(self._resolve, payment) for payment in due], put_back)
        return len(due) == BATCH

    async def work_refunds(self) -> bool:
        """Give back what is due; answers whether more may be."""
        now = self._clock.now()
        due = await self._units.database.write(
            lambda connection: ledger.claim_due(connection, now, limit=BATCH, lease=charges.LEASE)
        )
        put_back = [partial(self._refund_not_sent, refund, now) for refund in due]
        await self._each([partial(self._give_back, refund) for refund in due], put_back)
        return len(due) == BATCH

    async def find_out(self, payment: Payment) -> Outcome | None:
        """Ask the provider now, and write down what it says; None when it never heard of the charge.

        Unavailable when it does not answer. Nothing is ever charged by asking.
        """
        try:
            async with asyncio.timeout(PROVIDER_TIMEOUT_S):
                outcome = await self.provider.lookup(payment.id)
        except Exception as error:
            log.warning("provider_not_asked", payment_id=payment.id, reason=_told(error))
            raise Unavailable(
                f"{self.provider.name} does not answer", problem="payment-provider-unavailable", retry_after_s=5
            ) from error
        if outcome is not None:
            await self._outcomes.submit((payment.id, outcome))
        return outcome

    async def _resolve(self, payment: Payment) -> None:
        ask = partial(self._ask if payment.sent else self._charge, payment)
        await self._attempt(payment, ask, attempt=payment.attempts + 1, timeout_s=PROVIDER_TIMEOUT_S)

    async def _charge(self, payment: Payment) -> Outcome | None:
        assert payment.method_token is not None
        assert payment.currency is not None
        return await self.provider.charge(payment.id, payment.method_token, payment.amount_minor, payment.currency)

    async def _ask(self, payment: Payment) -> Outcome | None:
        known = await self.provider.lookup(payment.id)
        return known if known is not None or payment.order_cancelled else await self._charge(payment)

    async def _attempt(
        self, payment: Payment, ask: Callable[[], Awaitable[Outcome | None]], *, attempt: int, timeout_s: float
    ) -> Payment | None:
        again_at = self._again_at(attempt)
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await ask()
        except ProviderUnavailable as error:
            log.warning("charge_postponed", payment_id=payment.id, order_id=payment.order_id, reason=_told(error))
            await self._not_sent(payment, again_at)
            return None
        except Exception as error:
            # Not only a timeout: whatever went wrong after the call began, the money may have moved.
            log.warning("charge_undecided", payment_id=payment.id, order_id=payment.order_id, reason=_told(error))
            await self._units.database.write(lambda connection: kept.unknown(connection, payment.id, again_at))
            return None
        if outcome is None:
            await self._units.run(lambda uow: charges.record_never_arrived(uow, payment.id, again_at))
            return None
        return await self._outcomes.submit((payment.id, outcome))

    async def _give_back(self, refund: Refund) -> None:
        again_at = self._again_at(refund.attempts + 1)
        about = {"payment_id": refund.payment_id, "refund_id": refund.id}
        try:
            async with asyncio.timeout(PROVIDER_TIMEOUT_S):
                given = await self._given_back(refund)
        except ProviderUnavailable as error:
            log.warning("refund_postponed", attempts=refund.attempts + 1, reason=_told(error), **about)
            await self._refund_not_sent(refund, again_at)
            return
        except Exception as error:
            log.warning("refund_undecided", attempts=refund.attempts + 1, reason=_told(error), **about)
            await self._units.database.write(lambda connection: ledger.unknown(connection, refund.id, again_at))
            return
        if given != refund.amount_minor:
            log.critical("refunded_another_amount", given_minor=given, asked_minor=refund.amount_minor, **about)
            await self._units.database.write(lambda connection: ledger.unknown(connection, refund.id, again_at))
            return
        await self._refunded.submit(refund)

    async def _given_back(self, refund: Refund) -> int:
        known = await self.provider.lookup_refund(refund.id) if refund.sent else None
        if known is not None:
            return known
        await self.provider.refund(refund.id, refund.payment_id, refund.amount_minor)
        return refund.amount_minor

    async def _not_sent(self, payment: Payment, at: datetime) -> None:
        await self._units.database.write(lambda connection: kept.not_sent(connection, payment.id, at))

    async def _refund_not_sent(self, refund: Refund, at: datetime) -> None:
        await self._units.database.write(lambda connection: ledger.not_sent(connection, refund.id, at))

    async def _each(
        self, work: Sequence[Callable[[], Awaitable[None]]], put_back: Sequence[Callable[[], Awaitable[None]]]
    ) -> None:
        free = asyncio.Semaphore(self.provider.calls_at_once)
        begin_until_s = self._clock.monotonic_s() + BEGIN_WITHIN_S

        async def one(call: Callable[[], Awaitable[None]], back: Callable[[], Awaitable[None]]) -> None:
            async with free:
                await (call if self._clock.monotonic_s() <= begin_until_s else back)()

        calls = (one(call, back) for call, back in zip(work, put_back, strict=True))
        for result in await asyncio.gather(*calls, return_exceptions=True):
            # The lease of one that failed runs out and it is taken up again; its neighbours are done.
            if isinstance(result, DatabaseUnavailable):
                log.warning("provider_call_not_recorded", reason=str(result))
            elif isinstance(result, BaseException):
                log.error("provider_call_failed", error=repr(result))

    def _again_at(self, attempt: int) -> datetime:
        delay_s = RETRY_EFFECTS.delay_s(attempt, self._ids.jitter()) or 0.0
        return self._clock.now() + timedelta(seconds=delay_s)

    async def _record(self, outcomes: Sequence[tuple[str, Outcome]]) -> Sequence[Payment]:
        return await self._units.run(lambda uow: charges.record_outcomes(uow, outcomes))

    async def _record_refunds(self, done: Sequence[Refund]) -> Sequence[None]:
        await self._units.run(lambda uow: refunds.record_done(uow, done, self._currency))
        return [None] * len(done)


def _told(error: Exception) -> str:
    if isinstance(error, BusinessError):
        return error.detail
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
