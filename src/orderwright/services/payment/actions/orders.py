"""Take in what is heard of orders, in whatever order it is heard.

Whichever message comes first makes the row; each of them adds what it knows. Invariants: PaymentInitiated is said once
a payment; nothing is charged before the goods are set aside, and nothing after the order was cancelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import UNSET
from msgspec.structs import replace

from orderwright.contracts.payments import PaymentInitiated
from orderwright.kernel import money
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.payment.actions.charges import charging
from orderwright.services.payment.actions.refunds import refund_rest
from orderwright.services.payment.domain import Method, Payment, PaymentStatus
from orderwright.services.payment.store import methods as named
from orderwright.services.payment.store import payments as kept


@dataclass(frozen=True, slots=True)
class Created:
    """What OrderCreated says to a payment."""

    order_id: str
    customer_id: str
    amount_minor: int
    currency: str
    needs_stock: bool


def orders_created(uow: UnitOfWork, created: Sequence[Created], *, provider: str, currency: str) -> None:
    """Orders were created: their payments are known now, and begin by themselves where a method was named."""
    desk = _Desk(uow, [one.order_id for one in created], provider)
    for one in created:
        payment = desk.payment(one.order_id)
        if payment.known:
            continue
        known = replace(
            payment,
            status=PaymentStatus.CANCELLED if payment.order_cancelled else PaymentStatus.PENDING,
            customer_id=one.customer_id,
            amount_minor=one.amount_minor,
            currency=one.currency,
            needs_stock=one.needs_stock,
        )
        desk.put(known)
        if not known.order_cancelled:
            uow.emit(
                PaymentInitiated(
                    payment_id=known.id,
                    order_id=known.order_id,
                    user_id=one.customer_id,
                    amount=money.from_minor(one.amount_minor, one.currency),
                    currency=UNSET if one.currency == currency else one.currency,
                )
            )
    desk.save()


def stock_reserved(uow: UnitOfWork, order_ids: Sequence[str], *, provider: str) -> None:
    """The goods of these orders are set aside: they may be charged."""
    desk = _Desk(uow, order_ids, provider)
    for order_id in order_ids:
        payment = desk.payment(order_id)
        if not payment.stock_reserved:
            desk.put(replace(payment, stock_reserved=True))
    desk.save()


def orders_cancelled(uow: UnitOfWork, order_ids: Sequence[str], *, provider: str) -> None:
    """These orders are cancelled: charge nothing more, and give back what was taken."""
    desk = _Desk(uow, order_ids, provider)
    for order_id in order_ids:
        payment = desk.payment(order_id)
        if payment.order_cancelled:
            continue
        # A charge that was never sent will not be sent; one that may have been is found out about, and given back.
        not_begun = payment.status is PaymentStatus.CHARGING and not payment.sent
        untouched = payment.status is PaymentStatus.PENDING or not_begun
        cancelled = replace(payment, order_cancelled=True)
        if untouched:
            cancelled = replace(cancelled, status=PaymentStatus.CANCELLED, undecided_since=None, next_attempt_at=None)
        desk.put(cancelled)
    desk.save()
    for payment in kept.by_order(uow.connection, order_ids, lock=True).values():
        if payment.status is PaymentStatus.SUCCESS:
            refund_rest(uow, payment, reason="order_cancelled")


def methods_named(uow: UnitOfWork, methods: Sequence[Method]) -> None:
    """Somebody said how these orders are to be paid, before the orders were placed; `begin_left` finds the others."""
    named.save(uow.connection, methods, uow.now)


def begin_left(uow: UnitOfWork, *, provider: str, limit: int = 100) -> int:
    """Begin what could be charged and nobody has begun; answers how much that was.

    A method was named after its order was placed, or both at once, and neither of the two saw what the other one wrote.
    """
    left = kept.chargeable(uow.connection, limit=limit)
    if left:
        desk = _Desk(uow, left, provider)
        for order_id in left:
            desk.put(desk.payment(order_id))
        desk.save()
    return len(left)


class _Desk:
    """The payments that one unit of work touches; a charge begins as soon as one of them can be charged."""

    def __init__(self, uow: UnitOfWork, order_ids: Sequence[str], provider: str) -> None:
        self._uow = uow
        self._provider = provider
        self._payments = kept.locked(uow.connection, {order_id: self._blank(order_id) for order_id in order_ids})
        self._methods = named.by_order(uow.connection, order_ids)
        self._changed: set[str] = set()

    def payment(self, order_id: str) -> Payment:
        """The order's payment; a new one when nothing was heard of the order before."""
        return self._payments[order_id]

    def _blank(self, order_id: str) -> Payment:
        return Payment(
            id=self._uow.ids.new(),
            order_id=order_id,
            status=PaymentStatus.EXPECTED,
            created_at=self._uow.now,
            updated_at=self._uow.now,
            provider=self._provider,
        )

    def put(self, payment: Payment) -> None:
        """Keep it, and begin to charge it if it can be."""
        trace = payment.traceparent or self._uow.traces.get(payment.order_id)
        payment = replace(payment, updated_at=self._uow.now, traceparent=trace)
        method = self._methods.get(payment.order_id)
        if method is not None and payment.payable and method.customer_id == payment.customer_id:
            payment = charging(self._uow, payment, method, attempts=0)
            self._uow.wake("charge")
        self._payments[payment.order_id] = payment
        self._changed.add(payment.order_id)

    def save(self) -> None:
        kept.save(self._uow.connection, [self._payments[order_id] for order_id in sorted(self._changed)])
