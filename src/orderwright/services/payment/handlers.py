"""What the payment service hears."""

from collections.abc import Sequence

from msgspec import UNSET

from orderwright.contracts.inventory import StockReserved
from orderwright.contracts.orders import OrderCancelled, OrderCreated
from orderwright.kernel import money
from orderwright.kernel.errors import Invalid, MalformedMessage
from orderwright.kernel.handling import Handler
from orderwright.kernel.messages import Event, Received
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.payment.actions import orders
from orderwright.services.payment.actions.orders import Created


def handlers(provider: str, currency: str) -> dict[type[Event], Handler]:
    """Everything that the payment service consumes."""

    def on_order_created(events: Sequence[Received[OrderCreated]], uow: UnitOfWork) -> None:
        created = [_created(received.event, currency) for received in events]
        orders.orders_created(uow, created, provider=provider, currency=currency)

    def on_stock_reserved(events: Sequence[Received[StockReserved]], uow: UnitOfWork) -> None:
        orders.stock_reserved(uow, [received.event.order_id for received in events], provider=provider)

    def on_order_cancelled(events: Sequence[Received[OrderCancelled]], uow: UnitOfWork) -> None:
        orders.orders_cancelled(uow, [received.event.order_id for received in events], provider=provider)

    return {OrderCreated: on_order_created, StockReserved: on_stock_reserved, OrderCancelled: on_order_cancelled}


def _created(event: OrderCreated, default_currency: str) -> Created:
    currency = default_currency if event.currency is UNSET else event.currency
    try:
        amount_minor = money.to_minor(event.total_amount, currency)
    except Invalid as error:
        raise MalformedMessage(f"Order {event.order_id} has no usable amount: {error.detail}") from error
    if amount_minor < 0:
        raise MalformedMessage(f"Order {event.order_id} has a negative amount")
    return Created(event.order_id, event.user_id, amount_minor, currency, needs_stock=bool(event.items))
