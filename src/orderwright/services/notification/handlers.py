"""What the notification service hears: everything that a customer would want to know of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from orderwright.contracts.orders import OrderCancelled, OrderCompleted, OrderCreated
from orderwright.contracts.payments import PaymentFailed, PaymentRefunded
from orderwright.contracts.shipping import OrderDelivered, OrderShipped
from orderwright.kernel.handling import Handler
from orderwright.kernel.messages import Event, Received
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.notification.actions import telling
from orderwright.services.notification.actions.telling import News


def handlers(currency: str) -> dict[type[Event], Handler]:
    """Everything that the notification service consumes."""

    def on_order_created(events: Sequence[Received[OrderCreated]], uow: UnitOfWork) -> None:
        telling.orders_created(uow, [_order(received.event, currency) for received in events])

    def told(type_: str, context: Callable[[Any], Mapping[str, Any]], *, each_time: bool = False) -> Handler:
        def on_events(events: Sequence[Received[Any]], uow: UnitOfWork) -> None:
            telling.tell(
                uow,
                [
                    News(
                        type_,
                        received.event.order_id,
                        context(received.event),
                        f"{type_}:{received.event.order_id}" + (f":{received.message.id}" if each_time else ""),
                    )
                    for received in events
                ],
            )

        return on_events

    return {
        OrderCreated: on_order_created,
        OrderCompleted: told("order_confirmation", lambda event: {"payment_id": event.payment_id}),
        # An order says again that it is cancelled until everything is back; its customer wants to hear it once.
        OrderCancelled: told("order_cancelled", lambda event: {"reason": _plain(event.reason)}),
        PaymentFailed: told("payment_failed", lambda event: {"reason": _plain(event.reason)}),
        PaymentRefunded: told("refund_issued", lambda event: {"amount": format(event.amount, "f")}, each_time=True),
        OrderShipped: told(
            "order_shipped", lambda event: {"carrier": event.carrier, "tracking_number": event.tracking_number}
        ),
        OrderDelivered: told("order_delivered", lambda _: {}),
    }


def _order(event: OrderCreated, default_currency: str) -> dict[str, Any]:
    items = [
        {"product_id": line.product_id, "quantity": line.quantity, "price": format(line.price, "f")}
        for line in event.items
    ]
    details = {
        "total": format(event.total_amount, "f"),
        "currency": default_currency if event.currency is UNSET else event.currency,
        "items": items,
    }
    return {"order_id": event.order_id, "customer_id": event.user_id, "details": details}


def _plain(code: str) -> str:
    return code.replace("_", " ")
