"""What carts say: an item was added, a cart was checked out."""

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from orderwright.kernel.messages import Event


class CartLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many of a product."""

    product_id: str
    quantity: int


class CartItemAdded(Event, frozen=True, kw_only=True):
    """Somebody put a product into their cart."""

    event_name: ClassVar[str] = "CartItemAdded"
    topic: ClassVar[str] = "cart.item_added"
    owner: ClassVar[str] = "cart"
    heard_by: ClassVar[tuple[str, ...]] = ("inventory",)
    key_field: ClassVar[str] = "user_id"

    user_id: str
    product_id: str
    quantity: int
    """How many were added, not how many there are now."""


class CartCheckedOut(Event, frozen=True, kw_only=True):
    """A cart became an order; the order has the id of the cart."""

    event_name: ClassVar[str] = "CartCheckedOut"
    topic: ClassVar[str] = "cart.checked_out"
    owner: ClassVar[str] = "cart"
    heard_by: ClassVar[tuple[str, ...]] = ("order",)
    key_field: ClassVar[str] = "cart_id"

    user_id: str
    cart_id: str
    items: list[CartLine]
    currency: str | UnsetType = UNSET


EVENTS = (CartItemAdded, CartCheckedOut)
