"""What the order service hears, translated into facts and signals; the saga decides what they mean."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from msgspec import UNSET

from orderwright.contracts.carts import CartCheckedOut
from orderwright.contracts.catalog import ProductCreated, ProductDeleted, ProductUpdated
from orderwright.contracts.inventory import StockDeducted, StockReleased, StockReservationFailed, StockReserved
from orderwright.contracts.payments import PaymentCompleted, PaymentFailed, PaymentInitiated, PaymentRefunded
from orderwright.contracts.shipping import OrderDelivered, OrderShipped
from orderwright.kernel.errors import TryLater
from orderwright.kernel.handling import Handler
from orderwright.kernel.ids import derived, is_uuid
from orderwright.kernel.messages import Event, Received
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.order import actions, store
from orderwright.services.order.actions import NewOrder
from orderwright.services.order.domain import Fact, FactType, Order
from orderwright.services.order.sagas import Heard, OrderSaga
from orderwright.services.order.settings import OrderSettings

Listening = Callable[[UnitOfWork, Sequence[Order]], None]
"""Is shown how orders stand, in the transaction that made them so."""


def handlers(saga: OrderSaga, settings: OrderSettings, listening: Listening) -> dict[type[Event], Handler]:
    """Everything that the order service consumes, and what it does with it."""

    def on_cart_checked_out(events: Sequence[Received[CartCheckedOut]], uow: UnitOfWork) -> None:
        patience = timedelta(seconds=settings.unknown_price_patience_s)
        place_checked_out_carts(saga, events, uow, patience)

    def on_product_said(events: Sequence[Received[Any]], uow: UnitOfWork) -> None:
        said = [(r.event.product_id, r.message.time, *_price_in(r.event)) for r in events]
        actions.learn_prices(uow, said, saga.currency)

    def on_facts(events: Sequence[Received[Any]], uow: UnitOfWork) -> None:
        listening(uow, saga.hear(uow, [_FACTS[type(received.event)](received.event) for received in events]))

    return {
        # One handler for them all, so that a batch loads and writes each of its orders once.
        **dict.fromkeys(_FACTS, on_facts),
        PaymentRefunded: lambda events, uow: on_payment_refunded(saga, events, uow),
        CartCheckedOut: on_cart_checked_out,
        ProductCreated: on_product_said,
        ProductUpdated: on_product_said,
        ProductDeleted: on_product_said,
    }


def on_payment_refunded(saga: OrderSaga, events: Sequence[Received[PaymentRefunded]], uow: UnitOfWork) -> None:
    """A refund confirms the undo of the payment only when nothing is left to refund."""
    orders = store.see(uow.connection, [received.event.order_id for received in events])
    heard: list[Heard] = []
    for received in events:
        event, order = received.event, orders.get(received.event.order_id)
        if order is None:
            continue
        total = order.total_amount if event.refunded_total is UNSET else event.refunded_total
        fact = Fact(
            FactType.PAYMENT_REFUNDED, {"amount": format(event.amount, "f"), "refunded_total": format(total, "f")}
        )
        heard.append(Heard(event.order_id, fact, PaymentRefunded if total >= order.total_amount else None))
    saga.hear(uow, heard)


def place_checked_out_carts(
    saga: OrderSaga, events: Sequence[Received[CartCheckedOut]], uow: UnitOfWork, patience: timedelta
) -> None:
    """A cart that was checked out becomes an order with the cart's id."""
    carts = {_order_id(received.event): received for received in events}
    known = store.see(uow.connection, sorted(carts))
    wanted = [_new_order(order_id, cart.event) for order_id, cart in carts.items() if order_id not in known]
    for order, result in zip(wanted, saga.place(uow, wanted), strict=True):
        if isinstance(result, str):
            continue
        if uow.now - carts[order.id].message.time < patience:
            raise TryLater(f"Cart {order.id} waits for a price: {result.detail}")
        saga.place_cancelled(uow, order, result.detail)


def _new_order(order_id: str, event: CartCheckedOut) -> NewOrder:
    return NewOrder(
        id=order_id,
        customer_id=event.user_id,
        placed_by=event.user_id,
        lines=tuple((line.product_id, line.quantity, None) for line in event.items),
        currency=None if event.currency is UNSET else event.currency,
    )


def _order_id(event: CartCheckedOut) -> str:
    # Our carts have UUIDs; whoever says it with another kind of id gets an order id that always belongs to it.
    return event.cart_id if is_uuid(event.cart_id) else derived("order of cart", event.cart_id)


def _price_in(event: ProductCreated | ProductUpdated | ProductDeleted) -> tuple[Any, Any]:
    if isinstance(event, ProductDeleted):
        return None, None
    return event.price, None if event.currency is UNSET else event.currency


def _items(event: StockReserved | StockReservationFailed | StockDeducted | StockReleased) -> dict[str, Any]:
    return {"items": [{"product_id": line.product_id, "quantity": line.quantity} for line in event.items]}


def _stock_refused(event: StockReservationFailed) -> Heard:
    fact = Fact(FactType.STOCK_REFUSED, {**_items(event), "reason": event.reason})
    return Heard(event.order_id, fact, StockReservationFailed)


def _payment_failed(event: PaymentFailed) -> Heard:
    fact = Fact(FactType.PAYMENT_FAILED, {"payment_id": event.payment_id, "reason": event.reason})
    return Heard(event.order_id, fact, PaymentFailed)


def _shipped(event: OrderShipped) -> Heard:
    fact = Fact(FactType.SHIPPED, {"carrier": event.carrier, "tracking_number": event.tracking_number})
    return Heard(event.order_id, fact)


_FACTS: dict[type[Event], Callable[[Any], Heard]] = {
    StockReserved: lambda e: Heard(e.order_id, Fact(FactType.STOCK_RESERVED, _items(e)), StockReserved),
    StockReservationFailed: _stock_refused,
    StockDeducted: lambda e: Heard(e.order_id, Fact(FactType.STOCK_DEDUCTED, _items(e)), StockDeducted),
    StockReleased: lambda e: Heard(e.order_id, Fact(FactType.STOCK_RELEASED, _items(e)), StockReleased),
    PaymentInitiated: lambda e: Heard(e.order_id, Fact(FactType.PAYMENT_INITIATED, {"payment_id": e.payment_id})),
    PaymentCompleted: lambda e: Heard(
        e.order_id, Fact(FactType.PAYMENT_COMPLETED, {"payment_id": e.payment_id}), PaymentCompleted
    ),
    PaymentFailed: _payment_failed,
    OrderShipped: _shipped,
    OrderDelivered: lambda e: Heard(e.order_id, Fact(FactType.DELIVERED, {})),
}
"""What each message says of an order."""
