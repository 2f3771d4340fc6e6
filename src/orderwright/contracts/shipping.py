"""What shipping says: on its way, arrived."""

from typing import ClassVar

from orderwright.kernel.messages import Event


class OrderShipped(Event, frozen=True, kw_only=True):
    """The goods were handed to a carrier; from now on the order cannot be cancelled."""

    event_name: ClassVar[str] = "OrderShipped"
    topic: ClassVar[str] = "order.shipped"
    owner: ClassVar[str] = "shipping"
    heard_by: ClassVar[tuple[str, ...]] = ("order", "notification")

    order_id: str
    tracking_number: str
    carrier: str


class OrderDelivered(Event, frozen=True, kw_only=True):
    """The goods arrived."""

    event_name: ClassVar[str] = "OrderDelivered"
    topic: ClassVar[str] = "order.delivered"
    owner: ClassVar[str] = "shipping"
    heard_by: ClassVar[tuple[str, ...]] = ("order", "notification")

    order_id: str


EVENTS = (OrderShipped, OrderDelivered)
