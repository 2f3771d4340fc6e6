"""What the inventory hears, translated into one action for each kind of event."""

from collections.abc import Sequence
from datetime import timedelta

from msgspec import UNSET

from orderwright.contracts.carts import CartItemAdded
from orderwright.contracts.catalog import ProductCreated, ProductDeleted, ProductUpdated
from orderwright.contracts.orders import OrderCancelled, OrderCompleted, OrderCreated
from orderwright.contracts.payments import PaymentCompleted, PaymentFailed
from orderwright.kernel.errors import MalformedMessage
from orderwright.kernel.handling import Handler
from orderwright.kernel.messages import Event, Received
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory.actions import orders, reserve, settle, stock
from orderwright.services.inventory.actions.reserve import Wish
from orderwright.services.inventory.domain import ReservationKind, Stated
from orderwright.services.inventory.settings import InventorySettings


def handlers(settings: InventorySettings) -> dict[type[Event], Handler]:
    """Everything that the inventory consumes."""
    lasts = timedelta(minutes=settings.reservation_minutes)
    softly = timedelta(minutes=settings.soft_reservation_minutes)

    def on_order_created_or_paid(
        events: Sequence[Received[OrderCreated | PaymentCompleted | OrderCompleted]], uow: UnitOfWork
    ) -> None:
        created = [received.event for received in events if isinstance(received.event, OrderCreated)]
        # An order that was completed is certainly paid: its goods are deducted, if they are not yet.
        paid = [received.event.order_id for received in events if not isinstance(received.event, OrderCreated)]
        # An order of an amount needs no goods.
        orders.carry_on(uow, [_wish(event, lasts) for event in created if event.items], paid)

    def on_cart_item_added(events: Sequence[Received[CartItemAdded]], uow: UnitOfWork) -> None:
        if softly:
            added = ((r.event.user_id, r.event.product_id, r.event.quantity) for r in events)
            reserve.reserve_softly(uow, added, softly)

    return {
        ProductCreated: on_product_created,
        ProductUpdated: on_product_updated,
        ProductDeleted: on_product_deleted,
        OrderCancelled: on_order_cancelled,
        # One handler for them all, so that a batch reads all of it and then writes all of it.
        **dict.fromkeys((OrderCreated, PaymentCompleted, OrderCompleted), on_order_created_or_paid),
        PaymentFailed: on_payment_failed,
        CartItemAdded: on_cart_item_added,
    }


def on_order_cancelled(events: Sequence[Received[OrderCancelled]], uow: UnitOfWork) -> None:
    """Undo the reservation or the deduction."""
    settle.cancel_orders(uow, [received.event.order_id for received in events])


def on_payment_failed(events: Sequence[Received[PaymentFailed]], uow: UnitOfWork) -> None:
    """Set the goods free at once; OrderCancelled follows."""
    settle.release_unpaid(uow, [received.event.order_id for received in events])


def on_product_created(events: Sequence[Received[ProductCreated]], uow: UnitOfWork) -> None:
    """Make stock for a new product."""
    said = [
        Stated(r.event.product_id, r.message.time, r.event.name, _not_negative(r.event.quantity), created=True)
        for r in events
    ]
    stock.hear_catalog(uow, said)


def on_product_updated(events: Sequence[Received[ProductUpdated]], uow: UnitOfWork) -> None:
    """Take over a quantity that staff stated; a new price alone says nothing about stock."""
    said = [
        Stated(
            r.event.product_id,
            r.message.time,
            None if r.event.name is UNSET else r.event.name,
            None if r.event.quantity is UNSET else _not_negative(r.event.quantity),
        )
        for r in events
    ]
    stock.hear_catalog(uow, said)


def on_product_deleted(events: Sequence[Received[ProductDeleted]], uow: UnitOfWork) -> None:
    """Nothing more of it is set aside; what is set aside stays so."""
    stock.hear_catalog(uow, [Stated(r.event.product_id, r.message.time, deleted=True) for r in events])


def _wish(event: OrderCreated, lasts: timedelta) -> Wish:
    if any(line.quantity <= 0 for line in event.items):
        raise MalformedMessage(f"Order {event.order_id} has a line with a quantity that is not positive")
    lines = [(line.product_id, line.quantity) for line in event.items]
    return Wish(lines, event.order_id, event.user_id, ReservationKind.ORDER, lasts)


def _not_negative(quantity: int) -> int:
    if quantity < 0:
        raise MalformedMessage("A product's quantity is negative")
    return quantity
