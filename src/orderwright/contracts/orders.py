"""What orders say: created, cancelled, completed."""

from decimal import Decimal
from typing import ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from orderwright.kernel.messages import Event


class OrderLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many of a product, at which price each."""

    product_id: str
    quantity: int
    price: Decimal


class OrderCreated(Event, frozen=True, kw_only=True):
    """An order was accepted. Without items it is an order of an amount, and needs no stock."""

    event_name: ClassVar[str] = "OrderCreated"
    topic: ClassVar[str] = "order.created"
    owner: ClassVar[str] = "order"
    heard_by: ClassVar[tuple[str, ...]] = ("payment", "inventory", "shipping", "notification")

    order_id: str
    user_id: str
    items: list[OrderLine]
    total_amount: Decimal
    status: Literal["PENDING"] = "PENDING"
    currency: str | UnsetType = UNSET
    """Only when it is not the platform's own currency."""


class OrderCancelled(Event, frozen=True, kw_only=True):
    """An order will not be carried out. It is said again until stock and money have confirmed that they are back."""

    event_name: ClassVar[str] = "OrderCancelled"
    topic: ClassVar[str] = "order.cancelled"
    owner: ClassVar[str] = "order"
    heard_by: ClassVar[tuple[str, ...]] = ("payment", "inventory", "shipping", "notification")

    order_id: str
    reason: str


class OrderCompleted(Event, frozen=True, kw_only=True):
    """An order is paid and its stock is deducted: it can be shipped."""

    event_name: ClassVar[str] = "OrderCompleted"
    topic: ClassVar[str] = "order.completed"
    owner: ClassVar[str] = "order"
    heard_by: ClassVar[tuple[str, ...]] = ("inventory", "shipping", "notification")

    order_id: str
    payment_id: str
    status: Literal["COMPLETED"] = "COMPLETED"


EVENTS = (OrderCreated, OrderCancelled, OrderCompleted)
