"""An order and its life, as pure functions of what happened to it.

Invariants: an order is the fold of its facts, so it can be rebuilt from them; its status follows from what is known,
not from the order in which it became known; `TRANSITIONS` lists every move that a status may ever make.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace


class OrderStatus(StrEnum):
    """CONTRACT section 6."""

    PENDING = "pending"
    AWAITING_PAYMENT = "awaiting_payment"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class PaymentStatus(StrEnum):
    PENDING = "pending"
    PAID = "paid"
    FAILED = "failed"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class FulfillmentStatus(StrEnum):
    UNFULFILLED = "unfulfilled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"


class CancelReason(StrEnum):
    """Why an order ended without goods."""

    CUSTOMER_REQUEST = "customer_request"
    STAFF_REQUEST = "staff_request"
    INSUFFICIENT_INVENTORY = "insufficient_inventory"
    RESERVATION_TIMEOUT = "reservation_timeout"
    PAYMENT_FAILED = "payment_failed"
    PAYMENT_TIMEOUT = "payment_timeout"
    UNKNOWN_PRODUCT = "unknown_product"


class FactType(StrEnum):
    """What can happen to an order; the `event_type` of its history."""

    PLACED = "order_placed"
    STOCK_RESERVED = "stock_reserved"
    STOCK_REFUSED = "stock_refused"
    STOCK_DEDUCTED = "stock_deducted"
    STOCK_RELEASED = "stock_released"
    PAYMENT_INITIATED = "payment_initiated"
    PAYMENT_COMPLETED = "payment_completed"
    PAYMENT_FAILED = "payment_failed"
    PAYMENT_REFUNDED = "payment_refunded"
    ADDRESS_CHANGED = "address_changed"
    ITEMS_CHANGED = "items_changed"
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_REFUSED = "cancel_refused"
    CANCELLED = "order_cancelled"
    COMPLETED = "order_completed"
    SHIPPED = "order_shipped"
    DELIVERED = "order_delivered"


TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset(
        {OrderStatus.AWAITING_PAYMENT, OrderStatus.CONFIRMED, OrderStatus.COMPLETED, OrderStatus.CANCELLED}
    ),
    OrderStatus.AWAITING_PAYMENT: frozenset({OrderStatus.CONFIRMED, OrderStatus.COMPLETED, OrderStatus.CANCELLED}),
    OrderStatus.CONFIRMED: frozenset({OrderStatus.COMPLETED, OrderStatus.CANCELLED}),
    # Until it ships: then it is refunded and its stock comes back.
    OrderStatus.COMPLETED: frozenset({OrderStatus.CANCELLED}),
    OrderStatus.CANCELLED: frozenset(),
}


class Line(msgspec.Struct, frozen=True):
    """How many of a product, at which price each."""

    product_id: str
    quantity: int
    unit_price: Decimal

    @property
    def total_price(self) -> Decimal:
        return self.unit_price * self.quantity


class Fact(msgspec.Struct, frozen=True):
    """Something that happened to an order; `data` is JSON, with amounts as text."""

    type: FactType
    data: Mapping[str, Any]


class Order(msgspec.Struct, frozen=True):
    """An order as its facts make it."""

    id: str
    customer_id: str
    currency: str
    total_amount: Decimal
    lines: tuple[Line, ...]
    created_at: datetime
    updated_at: datetime
    placed_by: str
    client_reference: str | None = None
    shipping_address: Mapping[str, Any] | None = None
    contact: Mapping[str, Any] | None = None
    version: int = 0
    reserved: bool = False
    paid: bool = False
    completed: bool = False
    cancelled: bool = False
    cancel_reason: str | None = None
    cancel_detail: str | None = None
    cancel_requested: str | None = None
    """The reason of a cancellation that shipping has not agreed to yet."""
    payment_id: str | None = None
    payment_failed: bool = False
    refunded_amount: Decimal = Decimal(0)
    fulfillment_status: FulfillmentStatus = FulfillmentStatus.UNFULFILLED
    carrier: str | None = None
    tracking_number: str | None = None

    @property
    def has_goods(self) -> bool:
        """Whether it needs stock; otherwise it is an order of an amount (seed 003)."""
        return bool(self.lines)

    @property
    def status(self) -> OrderStatus:
        if self.cancelled:
            return OrderStatus.CANCELLED
        if self.completed:
            return OrderStatus.COMPLETED
        if self.has_goods and not self.reserved:
            return OrderStatus.PENDING
        return OrderStatus.CONFIRMED if self.paid else OrderStatus.AWAITING_PAYMENT

    @property
    def payment_status(self) -> PaymentStatus:
        if self.paid and self.refunded_amount >= self.total_amount:
            return PaymentStatus.REFUNDED
        if self.refunded_amount > 0:
            return PaymentStatus.PARTIALLY_REFUNDED
        if self.paid:
            return PaymentStatus.PAID
        return PaymentStatus.FAILED if self.payment_failed else PaymentStatus.PENDING

    @property
    def shipped(self) -> bool:
        return self.fulfillment_status is not FulfillmentStatus.UNFULFILLED


def place(fact: Fact, order_id: str, at: datetime) -> Order:
    """The order that a PLACED fact begins."""
    data = fact.data
    return Order(
        id=order_id,
        customer_id=data["customer_id"],
        currency=data["currency"],
        total_amount=Decimal(data["total_amount"]),
        lines=lines_of(data["items"]),
        created_at=at,
        updated_at=at,
        placed_by=data["placed_by"],
        client_reference=data.get("client_reference"),
        shipping_address=data.get("shipping_address"),
        contact=data.get("contact"),
        version=1,
    )


def is_news(order: Order, fact: Fact) -> bool:
    """Whether `fact` changes anything that the order shows; the same fact heard twice is no news."""
    return any(getattr(order, name) != value for name, value in _changes(order, fact).items())


def evolve(order: Order, fact: Fact, at: datetime) -> Order:
    """`order` after `fact`. AssertionError for a move that `TRANSITIONS` does not list: that is a fault in the saga."""
    changed = replace(order, **_changes(order, fact))
    if changed.status is not order.status and changed.status not in TRANSITIONS[order.status]:
        raise AssertionError(f"Order {order.id} would move from {order.status} to {changed.status}")
    return replace(changed, version=order.version + 1, updated_at=max(at, order.updated_at))


def rebuild(order_id: str, history: Iterable[tuple[Fact, datetime]]) -> Order:
    """The order that a history makes; the first fact is PLACED."""
    facts = iter(history)
    first, at = next(facts)
    order = place(first, order_id, at)
    for fact, at in facts:
        order = evolve(order, fact, at)
    return order


def _changes(order: Order, fact: Fact) -> dict[str, Any]:
    data = fact.data
    match fact.type:
        case FactType.STOCK_RESERVED:
            return {"reserved": True}
        case FactType.PAYMENT_INITIATED:
            return {"payment_id": data["payment_id"]}
        case FactType.PAYMENT_COMPLETED:
            return {"payment_id": data["payment_id"], "paid": True, "payment_failed": False}
        case FactType.PAYMENT_FAILED:
            return {} if order.paid else {"payment_id": data["payment_id"], "payment_failed": True}
        case FactType.PAYMENT_REFUNDED:
            return {"refunded_amount": max(order.refunded_amount, Decimal(data["refunded_total"]))}
        case FactType.COMPLETED:
            return {"completed": True}
        case FactType.CANCELLED:
            reason = {"cancel_reason": data["reason"], "cancel_detail": data.get("detail"), "cancel_requested": None}
            return {} if order.cancelled else {"cancelled": True, **reason}
        case _:
            return _changes_of_detail(order, fact)


def _changes_of_detail(order: Order, fact: Fact) -> dict[str, Any]:
    data = fact.data
    match fact.type:
        case FactType.ADDRESS_CHANGED:
            return {"shipping_address": data["shipping_address"]}
        case FactType.ITEMS_CHANGED:
            return {"lines": lines_of(data["items"]), "total_amount": Decimal(data["total_amount"])}
        case FactType.CANCEL_REQUESTED:
            return {"cancel_requested": data["reason"]}
        case FactType.CANCEL_REFUSED:
            return {"cancel_requested": None}
        case FactType.SHIPPED if not order.shipped:
            details = {"carrier": data["carrier"], "tracking_number": data["tracking_number"]}
            return {"fulfillment_status": FulfillmentStatus.SHIPPED, "cancel_requested": None, **details}
        case FactType.DELIVERED:
            return {"fulfillment_status": FulfillmentStatus.DELIVERED}
        case _:
            # STOCK_REFUSED, STOCK_DEDUCTED, STOCK_RELEASED: they move the saga; the order keeps them in its history.
            return {}


def lines_of(items: Iterable[Mapping[str, Any]]) -> tuple[Line, ...]:
    """Lines from a fact's JSON."""
    return tuple(Line(item["product_id"], item["quantity"], Decimal(item["unit_price"])) for item in items)


def items_of(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Lines as a fact's JSON."""
    return [
        {"product_id": line.product_id, "quantity": line.quantity, "unit_price": format(line.unit_price, "f")}
        for line in lines
    ]


def total_of(lines: Iterable[Line]) -> Decimal:
    """What the lines come to."""
    return sum((line.total_price for line in lines), Decimal(0))
