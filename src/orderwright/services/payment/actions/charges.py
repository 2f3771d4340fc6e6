"""Begin a charge, and record what became of it.

Invariants: a charge begins by moving a locked payment from `pending` to `charging`, so two requests cannot both begin
it; an outcome is recorded once; money that comes for a cancelled order goes straight back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

import structlog

from orderwright.contracts.payments import PaymentCompleted, PaymentFailed
from orderwright.kernel import money
from orderwright.kernel.errors import BusinessError, Conflict, Invalid, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.payment import store
from orderwright.services.payment.actions.refunds import refund_rest
from orderwright.services.payment.domain import Method, Payment, PaymentStatus
from orderwright.services.payment.providers import Captured, Outcome, Token

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
"""How long whoever began an attempt may take, before somebody else asks the provider; longer than any timeout."""


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
    known = store.by_order(uow.connection, [one.order_id for one in wanted], lock=True)
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
    store.save(uow.connection, list(changed.values()))
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
        next_attempt_at=uow.now + LEASE if attempts else uow.now,
        updated_at=uow.now,
    )


def record_outcomes(uow: UnitOfWork, outcomes: Sequence[tuple[str, Outcome]]) -> list[Payment]:
    """What became of charges; answers the payments as they stand then, in that order."""
    payments = store.by_id(uow.connection, [payment_id for payment_id, _ in outcomes], lock=True)
    changed: list[Payment] = []
    for payment_id, outcome in outcomes:
        payment = payments[payment_id]
        if payment.status is not PaymentStatus.CHARGING:
            continue
        if payment.traceparent:
            uow.traces[payment.order_id] = payment.traceparent
        decided = _decided(uow, payment, outcome)
        if decided is not None:
            payments[payment_id] = decided
            changed.append(decided)
    store.save(uow.connection, changed)
    for payment in changed:
        if payment.order_cancelled and payment.status is PaymentStatus.SUCCESS:
            payments[payment.id] = refund_rest(uow, payment, reason="order_cancelled")
        uow.tell(payment.order_id)
    return [payments[payment_id] for payment_id, _ in outcomes]


def _decided(uow: UnitOfWork, payment: Payment, outcome: Outcome) -> Payment | None:
    done = replace(payment, next_attempt_at=None, updated_at=uow.now)
    if not isinstance(outcome, Captured):
        uow.emit(PaymentFailed(payment_id=payment.id, order_id=payment.order_id, reason=outcome.code))
        return replace(done, status=PaymentStatus.FAILED, failure_code=outcome.code)
    if (outcome.amount_minor, outcome.currency) != (payment.amount_minor, payment.currency):
        # Whoever took another amount than was asked has to be asked by a person.
        log.critical("captured_another_amount", payment_id=payment.id, order_id=payment.order_id)
        return None
    uow.emit(PaymentCompleted(payment_id=payment.id, order_id=payment.order_id))
    return replace(done, status=PaymentStatus.SUCCESS, captured_minor=outcome.amount_minor)


def _refusal(payment: Payment | None, wanted: Begin) -> BusinessError | None:
    if payment is None or not payment.known or payment.currency is None:
        return NotFound("There is no such order")
    if payment.status is PaymentStatus.SUCCESS:
        return Conflict("This order is paid", problem="already-paid")
    if payment.status is PaymentStatus.CHARGING:
        return Conflict("This order is being paid at this moment", problem="payment-in-progress", retry_after_s=1)
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
