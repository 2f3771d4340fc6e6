"""The laws of what was said of an order: every service that hears an event must show that it did.

An outbox row is gone once the broker has it, so what was said is checked by its traces: the rows that it must have
caused. Pure: a dossier in, findings out.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from orderwright.audit.findings import Finding
from orderwright.audit.orders.dossier import Dossier
from orderwright.services.order.domain import OrderStatus

FULFILMENT: Final = {
    None: "unfulfilled",
    "pending": "unfulfilled",
    "cancelled": "unfulfilled",
    "shipped": "shipped",
    "delivered": "delivered",
}
"""What the order shows, by the status of its shipment."""


def telling_findings(dossier: Dossier) -> Iterator[Finding]:
    """Who has not heard what was said of an order."""
    if not dossier.announced:
        return
    if deaf := list(_deaf_to_its_beginning(dossier)):
        yield dossier.finding("order_unheard", f"{' and '.join(deaf)} never heard that it was created")
    if deaf := list(_deaf_to_its_cancellation(dossier)):
        yield dossier.finding("cancellation_unheard", f"{' and '.join(deaf)} never heard that it was cancelled")
    yield from _shipment(dossier)
    told = Counter(row.type for row in dossier.told)
    missing = [kind for kind, times in _to_be_told(dossier).items() if told[kind] < times]
    if missing:
        yield dossier.finding("notification_missing", f"not told: {', '.join(missing)}")


def _deaf_to_its_beginning(dossier: Dossier) -> Iterator[str]:
    # A payment that is only expected heard something else of the order, but not what it costs.
    if dossier.payment is None or dossier.payment.status == "expected":
        yield "payment"
    if dossier.shipping_knows is None:
        yield "shipping"
    if dossier.notification_knows is None:
        yield "notification"


def _deaf_to_its_cancellation(dossier: Dossier) -> Iterator[str]:
    """Each of them leaves a trace of a cancellation, also when it comes first; what is still held is told elsewhere."""
    if dossier.status is not OrderStatus.CANCELLED:
        return
    if dossier.payment is not None and not dossier.payment.order_cancelled:
        yield "payment"
    if dossier.held in {None, "expired"}:
        yield "inventory"
    if dossier.sent is None:
        yield "shipping"


def _shipment(dossier: Dossier) -> Iterator[Finding]:
    order, sent = dossier.order, dossier.sent
    match dossier.status:
        case OrderStatus.COMPLETED:
            agreed_to_cancel = sent == "cancelled" and order.cancel_requested is not None
            if dossier.has_goods and sent in {None, "cancelled"} and not agreed_to_cancel:
                yield dossier.finding("shipment_missing", f"the order is completed, its shipment is {sent or 'none'}")
        case OrderStatus.CANCELLED if sent == "pending":
            yield dossier.finding("shipment_open", "the order is cancelled, its shipment can be sent")
        case OrderStatus.CANCELLED:
            return
        case _ if sent not in {None, "cancelled"}:
            yield dossier.finding("shipment_open", f"the order is {order.status}, its shipment is {sent}")
    if FULFILMENT[sent] != order.fulfillment_status:
        yield dossier.finding(
            "shipment_unheard", f"the order shows {order.fulfillment_status}, its shipment is {sent or 'none'}"
        )


def _to_be_told(dossier: Dossier) -> dict[str, int]:
    order, payment = dossier.order, dossier.payment
    given_back = sum(refund.status == "done" for refund in dossier.refunds)
    return {
        "order_confirmation": int(order.completed),
        "order_cancelled": int(dossier.status is OrderStatus.CANCELLED),
        "payment_failed": int(payment is not None and payment.status == "failed"),
        "refund_issued": given_back,
        "order_shipped": int(dossier.sent in {"shipped", "delivered"}),
        "order_delivered": int(dossier.sent == "delivered"),
    }
