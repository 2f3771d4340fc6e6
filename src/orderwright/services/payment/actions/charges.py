"""Begin a charge, and record what became of it.

Invariants: a charge begins by moving a locked payment from `pending` to `charging`, so two requests cannot both begin
it; an outcome is recorded once, and what the provider took counts whatever was known before; money that comes for a
cancelled order goes straight back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from msgspec.structs import replace

from orderwright.contracts.payments import PaymentCompleted, PaymentFailed
from orderwright.kernel import money
from orderwright.kernel.errors import BusinessError, Conflict, Invalid, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.payment.actions.refunds import refund_rest
from orderwright.services.payment.domain import TRANSITIONS, UNDECIDED, Method, Payment, PaymentStatus
from orderwright.services.payment.providers import Captured, Outcome, Token
from orderwright.services.payment.store import payments as kept
from orderwright.services.payment.store import refunds as ledger

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
"""How long whoever began an attempt may take, before somebody else asks the provider; longer than any timeout."""

NEVER_ARRIVES_AFTER = timedelta(minutes=5)
"""A charge that the provider has not heard of so long after it was last sent will not arrive any more."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Somebody pays for an order."""

    order_id: str
    amount: Decimal
    """What the caller says it costs; compared with what the order costs."""
    currency: str | None
    token: Token = field(repr=False)
    attempt_id: str
    """Tells the request that began the charge from one that finds it begun."""


def begin(uow: UnitOfWork, wanted: Sequence[Begin]) -> list[dict[str, str] | BusinessError]:
    """Begin charges: {payment_id, attempt_id} of each, or why it cannot begin."""
    known = kept.by_order(uow.connection, [one.order_id for one in wanted], lock=True)
    changed: dict[str, Payment] = {}
    results: list[dict[str, str] | BusinessError] = []
    for one in wanted:
        payment = changed.get(one.order_id) or known.get(one.order_id)
        refusal = _refusal(payment, one)
        if refusal is not None or payment is None:
            results.append(refusal or NotFound("There is no such order"))
            continue
        changed[one.order_id] = charging(uow, payment, one.token, attempts=1)
        results.append({"payment_id": payment.id, "attempt_id": one.attempt_id})
    kept.save(uow.connection, list(changed.values()))
    return results


def charging(uow: UnitOfWork, payment: Payment, token: Token | Method, *, attempts: int) -> Payment:
    """`payment` as it is when a charge begins: with one attempt under way here, or (0) left to the job."""
    return replace(
        payment,
        status=PaymentStatus.CHARGING,
        method_token=token.token,
        brand=token.brand,
        last4=token.last4,
        attempts=attempts,
        sent_at=uow.now if attempts else None,
        undecided_since=uow.now,
        next_attempt_at=uow.now + LEASE if attempts else uow.now,
        updated_at=uow.now,
    )


def record_outcomes(uow: UnitOfWork, outcomes: Sequence[tuple[str, Outcome]]) -> list[Payment]:
    """What became of charges; answers the payments as they stand then, in that order."""
    payments = kept.by_id(uow.connection, [payment_id for payment_id, _ in outcomes], lock=True)
    changed: dict[str, Payment] = {}
    for payment_id, outcome in outcomes:
        payment = payments[payment_id]
        decided = _decided(uow, payment, outcome)
        if decided.status in TRANSITIONS[payment.status]:
            payments[payment_id] = changed[payment_id] = decided
            _say(uow, payment, decided)
        elif (payment.status, decided.status) == (PaymentStatus.SUCCESS, PaymentStatus.FAILED):
            log.critical("capture_denied_by_provider", payment_id=payment.id, order_id=payment.order_id)
    kept.save(uow.connection, list(changed.values()))
    for payment in changed.values():
        if payment.order_cancelled and payment.status is PaymentStatus.SUCCESS:
            payments[payment.id] = refund_rest(uow, payment, reason="order_cancelled")
        uow.tell(payment.order_id)
    return [payments[payment_id] for payment_id, _ in outcomes]


def record_never_arrived(uow: UnitOfWork, payment_id: str, again_at: datetime) -> None:
    """The provider never heard of the charge of a cancelled order: it is not sent again, and given up in the end.

    A call may still be on its way, so it is asked for a while longer.
    """
    payment = kept.by_id(uow.connection, [payment_id], lock=True)[payment_id]
    if payment.status not in UNDECIDED or payment.sent_at is None or not payment.order_cancelled:
        return
    if uow.now - payment.sent_at < NEVER_ARRIVES_AFTER:
        kept.save(uow.connection, [replace(payment, next_attempt_at=again_at)])
        return
    given_up = replace(
        payment, status=PaymentStatus.CANCELLED, undecided_since=None, next_attempt_at=None, updated_at=uow.now
    )
    kept.save(uow.connection, [given_up])
    uow.tell(payment.order_id)


def hurry(uow: UnitOfWork, payment_id: str) -> None:
    """Whatever of a payment has no outcome is asked about now."""
    kept.by_id(uow.connection, [payment_id], lock=True)
    if kept.ask_at(uow.connection, payment_id, uow.now):
        uow.wake("charge")
    for one in ledger.of_payment(uow.connection, payment_id):
        if one.status != ledger.DONE and ledger.try_at(uow.connection, one.id, uow.now):
            uow.wake("refund")


def _decided(uow: UnitOfWork, payment: Payment, outcome: Outcome) -> Payment:
    settled = replace(payment, next_attempt_at=None, undecided_since=None, updated_at=uow.now)
    if not isinstance(outcome, Captured):
        return replace(settled, status=PaymentStatus.FAILED, failure_code=outcome.code)
    if (outcome.amount_minor, outcome.currency) != (payment.amount_minor, payment.currency):
        since = payment.undecided_since or uow.now
        return replace(settled, status=PaymentStatus.QUARANTINED, undecided_since=since)
    return replace(
        settled, status=PaymentStatus.SUCCESS, captured_minor=outcome.amount_minor, sent_at=payment.sent_at or uow.now
    )


def _say(uow: UnitOfWork, before: Payment, now: Payment) -> None:
    if now.traceparent:
        uow.traces[now.order_id] = now.traceparent
    about = {"payment_id": now.id, "order_id": now.order_id}
    if now.status is PaymentStatus.QUARANTINED:
        log.critical("captured_another_amount", **about)
    elif now.status is PaymentStatus.FAILED:
        uow.emit(PaymentFailed(payment_id=now.id, order_id=now.order_id, reason=now.failure_code or "unknown"))
    else:
        if before.status in {PaymentStatus.FAILED, PaymentStatus.CANCELLED}:
            log.warning("captured_after_all", before=before.status.value, **about)
        uow.emit(PaymentCompleted(payment_id=now.id, order_id=now.order_id))


def _refusal(payment: Payment | None, wanted: Begin) -> BusinessError | None:
    if payment is None or not payment.known or payment.currency is None:
        return NotFound("There is no such order")
    if payment.status is PaymentStatus.SUCCESS:
        return Conflict("This order is paid", problem="already-paid")
    if payment.status is PaymentStatus.CHARGING:
        return Conflict("This order is being paid at this moment", problem="payment-in-progress", retry_after_s=1)
    if payment.status in {PaymentStatus.UNKNOWN, PaymentStatus.QUARANTINED}:
        return Conflict(
            "This order may be paid already: the provider is being asked what became of the payment before",
            problem="payment-in-progress",
            retry_after_s=30,
        )
    if payment.status in {PaymentStatus.FAILED, PaymentStatus.CANCELLED} or payment.order_cancelled:
        return Conflict("This order cannot be paid any more: it is cancelled", problem="order-not-payable")
    if not payment.payable:
        return Conflict("The order's stock is not reserved yet", problem="order-not-payable", retry_after_s=1)
    due = money.from_minor(payment.amount_minor, payment.currency)
    if wanted.amount != due or wanted.currency not in {None, payment.currency}:
        return Invalid(
            f"The order costs {due} {payment.currency}",
            problem="amount-mismatch",
            errors=[{"loc": ["body", "amount"], "msg": f"must be {due} {payment.currency}"}],
        )
    return None
