"""What the catalog says: products come, change and go. The catalog is the only authority on price."""

from decimal import Decimal
from typing import ClassVar

from msgspec import UNSET, UnsetType

from orderwright.kernel.messages import Event


class ProductCreated(Event, frozen=True, kw_only=True):
    """A product can be bought from now on."""

    event_name: ClassVar[str] = "ProductCreated"
    topic: ClassVar[str] = "product.created"
    owner: ClassVar[str] = "catalog"
    heard_by: ClassVar[tuple[str, ...]] = ("cart", "order", "inventory")
    key_field: ClassVar[str] = "product_id"

    product_id: str
    name: str
    price: Decimal
    quantity: int
    currency: str | UnsetType = UNSET
    """Only when it is not the platform's own currency."""


class ProductUpdated(Event, frozen=True, kw_only=True):
    """A product has a new price, or staff stated a new quantity."""

    event_name: ClassVar[str] = "ProductUpdated"
    topic: ClassVar[str] = "product.updated"
    owner: ClassVar[str] = "catalog"
    heard_by: ClassVar[tuple[str, ...]] = ("cart", "order", "inventory")
    key_field: ClassVar[str] = "product_id"

    product_id: str
    price: Decimal
    quantity: int | UnsetType = UNSET
    """Only when staff stated it: repeating what the catalog last heard would overwrite what was sold since."""
    name: str | UnsetType = UNSET
    currency: str | UnsetType = UNSET


class ProductDeleted(Event, frozen=True, kw_only=True):
    """A product cannot be bought any more."""

    event_name: ClassVar[str] = "ProductDeleted"
    topic: ClassVar[str] = "product.deleted"
    owner: ClassVar[str] = "catalog"
    heard_by: ClassVar[tuple[str, ...]] = ("cart", "order", "inventory")
    key_field: ClassVar[str] = "product_id"

    product_id: str


EVENTS = (ProductCreated, ProductUpdated, ProductDeleted)
