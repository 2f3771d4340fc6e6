"""What shipping can do: prepare shipments, hand them to a carrier, hear that they arrived, let go of them.

Invariant: shipping and cancelling decide between themselves in one conditional statement, so an order is never both
shipped and cancelled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from orderwright.contracts.shipping import OrderDelivered, OrderShipped
from orderwright.kernel.errors import Conflict, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.shipping import store
from orderwright.services.shipping.domain import Shipment, ShipmentStatus

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ordered:
    """What OrderCreated says to shipping."""

    order_id: str
    customer_id: str
    has_goods: bool


def orders_created(uow: UnitOfWork, ordered: Sequence[Ordered]) -> None:
    """Remember whose the orders are, and whether there is anything to ship."""
    rows = {
        o.order_id: {"order_id": o.order_id, "customer_id": o.customer_id, "has_goods": o.has_goods} for o in ordered
    }
    store.note_created(uow.connection, [rows[order_id] for order_id in sorted(rows)])
    _prepare(uow, rows)


def orders_completed(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    """The goods of these orders can leave, unless the order was cancelled before."""
    store.note_completed(uow.connection, order_ids)
    _prepare(uow, order_ids)


def let_go(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    """These orders are cancelled: what has not left stays here, also when its order is heard of later."""
    _cancel(uow, order_ids)
    for order_id in order_ids:
        shipment = store.by_order(uow.connection, order_id)
        if shipment is not None and shipment.status is not ShipmentStatus.CANCELLED:
            log.error("cancelled_although_shipped", order_id=order_id)


def agree_to_cancel(uow: UnitOfWork, order_id: str) -> None:
    """The order service asks whether a complete order can still be cancelled. Conflict when it has left."""
    _cancel(uow, [order_id])
    shipment = store.by_order(uow.connection, order_id)
    if shipment is None or shipment.status is not ShipmentStatus.CANCELLED:
        raise Conflict(f"Order {order_id} has shipped", problem="already-shipped")


def ship(uow: UnitOfWork, shipment_id: str, carrier: str, tracking_number: str | None) -> Shipment:
    """Hand a shipment to a carrier. The same again is the same; NotFound; Conflict in any other state."""
    number = tracking_number or f"OW{uow.ids.new().replace('-', '')[-16:].upper()}"
    changes = {
        "status": ShipmentStatus.SHIPPED.value,
        "carrier": carrier,
        "tracking_number": number,
        "shipped_at": uow.now,
        "updated_at": uow.now,
    }
    moved = store.move(uow.connection, store.of_id(shipment_id), ShipmentStatus.PENDING, changes)
    shipment = _known(uow, shipment_id)
    if moved:
        uow.emit(OrderShipped(order_id=shipment.order_id, tracking_number=number, carrier=carrier))
        return shipment
    same = shipment.carrier == carrier and tracking_number in {None, shipment.tracking_number}
    if shipment.status is ShipmentStatus.SHIPPED and same:
        return shipment
    raise Conflict(f"The shipment is {shipment.status}", problem="invalid-state-transition")


def deliver(uow: UnitOfWork, shipment_id: str) -> Shipment:
    """A shipment arrived. Twice is the same as once; NotFound; Conflict when it has not left."""
    changes = {"status": ShipmentStatus.DELIVERED.value, "delivered_at": uow.now, "updated_at": uow.now}
    moved = store.move(uow.connection, store.of_id(shipment_id), ShipmentStatus.SHIPPED, changes)
    shipment = _known(uow, shipment_id)
    if moved:
        uow.emit(OrderDelivered(order_id=shipment.order_id))
    elif shipment.status is not ShipmentStatus.DELIVERED:
        raise Conflict(f"The shipment is {shipment.status}", problem="invalid-state-transition")
    return shipment


def _prepare(uow: UnitOfWork, order_ids: Iterable[str]) -> None:
    # Only what is known to have goods: an order without any can be cancelled without asking here, so nothing of it may
    # be there to leave, not even for a moment.
    rows = [
        store.new_row(uow.ids.new(), order.order_id, order.customer_id, ShipmentStatus.PENDING, uow.now)
        for order in store.to_ship(uow.connection, order_ids)
    ]
    store.insert(uow.connection, rows)


def _cancel(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    known = store.known_orders(uow.connection, order_ids)
    rows = [
        store.new_row(uow.ids.new(), order_id, known[order_id].customer_id, ShipmentStatus.CANCELLED, uow.now)
        for order_id in dict.fromkeys(order_ids)
    ]
    store.insert(uow.connection, rows)
    changes = {"status": ShipmentStatus.CANCELLED.value, "updated_at": uow.now}
    store.move(uow.connection, store.of_order(list(order_ids)), ShipmentStatus.PENDING, changes)


def _known(uow: UnitOfWork, shipment_id: str) -> Shipment:
    shipment = store.by_id(uow.connection, shipment_id)
    if shipment is None:
        raise NotFound("There is no such shipment")
    return shipment
