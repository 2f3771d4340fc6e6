"""What the inventory says: stock was reserved or not, given back, deducted, or is at a new level."""

from typing import ClassVar

import msgspec

from orderwright.kernel.messages import Event


class StockLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many of a product."""

    product_id: str
    quantity: int


class StockReserved(Event, frozen=True, kw_only=True):
    """All of an order's goods are set aside for it."""

    event_name: ClassVar[str] = "StockReserved"
    topic: ClassVar[str] = "stock.reserved"
    owner: ClassVar[str] = "inventory"
    heard_by: ClassVar[tuple[str, ...]] = ("order", "payment")

    order_id: str
    items: list[StockLine]


class StockReservationFailed(Event, frozen=True, kw_only=True):
    """An order's goods cannot be had; nothing is set aside for it."""

    event_name: ClassVar[str] = "StockReservationFailed"
    topic: ClassVar[str] = "stock.reservation_failed"
    owner: ClassVar[str] = "inventory"
    heard_by: ClassVar[tuple[str, ...]] = ("order",)

    order_id: str
    items: list[StockLine]
    reason: str


class StockReleased(Event, frozen=True, kw_only=True):
    """Nothing is set aside for an order any more; `items` came back. Also the answer when there was nothing."""

    event_name: ClassVar[str] = "StockReleased"
    topic: ClassVar[str] = "stock.released"
    owner: ClassVar[str] = "inventory"
    heard_by: ClassVar[tuple[str, ...]] = ("order",)

    order_id: str
    items: list[StockLine]


class StockDeducted(Event, frozen=True, kw_only=True):
    """An order's goods have left the stock for good."""

    event_name: ClassVar[str] = "StockDeducted"
    topic: ClassVar[str] = "stock.deducted"
    owner: ClassVar[str] = "inventory"
    heard_by: ClassVar[tuple[str, ...]] = ("order",)

    order_id: str
    items: list[StockLine]


class StockUpdated(Event, frozen=True, kw_only=True):
    """How many of a product can be bought now, over all warehouses."""

    event_name: ClassVar[str] = "StockUpdated"
    topic: ClassVar[str] = "stock.updated"
    owner: ClassVar[str] = "inventory"
    heard_by: ClassVar[tuple[str, ...]] = ("catalog",)
    key_field: ClassVar[str] = "product_id"

    product_id: str
    quantity: int


EVENTS = (StockReserved, StockReservationFailed, StockReleased, StockDeducted, StockUpdated)
