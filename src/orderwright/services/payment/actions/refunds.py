"""Give money back: decide it here, in one conditional statement, and let a job carry it out.

Invariant: the sum of all refunds that were ever decided never passes what was captured.
"""

from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace

from orderwright.contracts.payments import PaymentRefunded
from orderwright.kernel import money
from orderwright.kernel.errors import Conflict, Invalid, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.payment.domain import Payment, PaymentStatus
from orderwright.services.payment.store import payments as kept
from orderwright.services.payment.store import refunds as ledger
from orderwright.services.payment.store.refunds import Refund


def refund(
    uow: UnitOfWork, payment_id: str, amount_minor: int | None, *, reason: str | None, requested_by: str
) -> Refund:
    """Decide a refund of `amount_minor`, or of all that is left. Conflict when nothing was captured; Invalid when it is
    more than is left.
    """
    payment = kept.by_id(uow.connection, [payment_id], lock=True).get(payment_id)
    if payment is None:
        raise NotFound("There is no such payment")
    if payment.status is not PaymentStatus.SUCCESS or payment.currency is None:
        raise Conflict("Nothing was captured that could be refunded", problem="invalid-state-transition")
    left = payment.captured_minor - payment.promised_minor
    amount = left if amount_minor is None else amount_minor
    if amount <= 0 or not kept.promise_refund(uow.connection, payment_id, amount, uow.now):
        raise Invalid(
            f"{money.text(left, payment.currency)} {payment.currency} are left to refund",
            problem="refund-exceeds-captured",
            errors=[{"loc": ["body", "amount"], "msg": "more than is left to refund"}],
        )
    return _decide(uow, payment, amount, reason=reason, requested_by=requested_by)


def refund_rest(uow: UnitOfWork, payment: Payment, *, reason: str) -> Payment:
    """Everything that is left goes back; nothing happens when nothing is left."""
    left = payment.captured_minor - payment.promised_minor
    if left > 0 and kept.promise_refund(uow.connection, payment.id, left, uow.now):
        _decide(uow, payment, left, reason=reason, requested_by=None)
        return replace(payment, promised_minor=payment.promised_minor + left)
    return payment


def record_done(uow: UnitOfWork, done: Sequence[Refund], currency: str) -> None:
    """The provider has given this money back."""
    payments = kept.by_id(uow.connection, [one.payment_id for one in done], lock=True)
    for one in done:
        if not ledger.finish(uow.connection, one.id, uow.now):
            continue
        kept.add_refunded(uow.connection, one.payment_id, one.amount_minor, uow.now)
        payment = payments[one.payment_id]
        payment = replace(payment, refunded_minor=payment.refunded_minor + one.amount_minor)
        payments[one.payment_id] = payment
        assert payment.currency is not None
        if payment.traceparent:
            uow.traces[payment.order_id] = payment.traceparent
        uow.emit(
            PaymentRefunded(
                payment_id=payment.id,
                order_id=payment.order_id,
                amount=money.from_minor(one.amount_minor, payment.currency),
                refunded_total=money.from_minor(payment.refunded_minor, payment.currency),
                currency=UNSET if payment.currency == currency else payment.currency,
            )
        )
        uow.tell(payment.order_id)


def _decide(uow: UnitOfWork, payment: Payment, amount: int, *, reason: str | None, requested_by: str | None) -> Refund:
    uow.wake("refund")
    return ledger.insert(
        uow.connection, uow.ids.new(), payment.id, amount, uow.now, reason=reason, requested_by=requested_by
    )
