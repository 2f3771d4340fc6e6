"""The laws of an order's money: taken - given back is what the order's end says, and both say the same.

Pure: a dossier in, findings out.
"""

from collections.abc import Iterator
from decimal import Decimal

from orderwright.audit.checks import Moment
from orderwright.audit.findings import Finding
from orderwright.audit.orders.dossier import Dossier
from orderwright.kernel import money
from orderwright.kernel.errors import Invalid
from orderwright.services.order.domain import OrderStatus

NOT_TAKEN_YET = frozenset({"pending", "charging", "unknown"})
NOT_SAID_YET = frozenset({"expected", "cancelled"})
"""A payment may be in these states without ever having said that it began."""


def money_findings(dossier: Dossier, moment: Moment) -> Iterator[Finding]:
    """What is wrong with the money of an order that both services know."""
    order, payment = dossier.order, dossier.payment
    if payment is None:
        if order.paid:
            yield dossier.finding("payment_unheard", "the order is paid, and payment knows nothing of it")
        return
    yield from _amounts(dossier)
    if order.paid is not dossier.captured:
        shown = "paid" if order.paid else "not paid"
        yield dossier.finding("payment_unheard", f"the order is {shown}, its payment is {payment.status}")
    elif payment.status == "failed" and not order.payment_failed:
        yield dossier.finding("payment_unheard", "the payment failed, and the order does not show it")
    if payment.status not in NOT_SAID_YET and order.payment_id != payment.id:
        yield dossier.finding("payment_unheard", f"the order shows payment {order.payment_id}, it is {payment.id}")
    if payment.status in {"charging", "unknown"} and payment.updated_at < moment.overdue_before:
        yield dossier.finding("charge_overdue", f"payment {payment.id} is being charged since {payment.updated_at}")
    yield from _given_back(dossier, moment)


def _amounts(dossier: Dossier) -> Iterator[Finding]:
    order, payment = dossier.order, dossier.payment
    due = _minor(order.total_amount, order.currency)
    taken = payment.captured_minor if dossier.captured else payment.amount_minor
    # While somebody changes the goods, payment holds; the price is said last.
    if not dossier.captured and (payment.status not in NOT_TAKEN_YET or payment.held_by is not None):
        return
    if (taken, payment.currency) != (due, order.currency):
        what = "took" if dossier.captured else "asks for"
        yield dossier.finding(
            "charged_amount",
            f"the order costs {order.total_amount} {order.currency}, payment {what} {_text(taken, payment.currency)}",
        )


def _given_back(dossier: Dossier, moment: Moment) -> Iterator[Finding]:
    order, payment = dossier.order, dossier.payment
    kept = payment.captured_minor - payment.promised_minor
    if dossier.status is OrderStatus.CANCELLED and kept > 0:
        yield dossier.finding("money_kept", f"{_text(kept, payment.currency)} are kept, payment {payment.id}")
    shown = _minor(order.refunded_amount, order.currency)
    if dossier.captured and payment.refunded_minor != shown:
        given = _text(payment.refunded_minor, payment.currency)
        yield dossier.finding("refund_unheard", f"{given} were given back, the order shows {order.refunded_amount}")
    for refund in dossier.refunds:
        if refund.status != "done" and refund.created_at < moment.overdue_before:
            yield dossier.finding("refund_overdue", f"refund {refund.id} is {refund.status} since {refund.created_at}")


def _minor(amount: Decimal, currency: str) -> int | None:
    try:
        return money.to_minor(amount, currency)
    except Invalid:
        return None


def _text(minor: int, currency: str | None) -> str:
    if currency is None or currency not in money.EXPONENTS:
        return f"{minor} minor units of {currency}"
    return f"{money.text(minor, currency)} {currency}"
