"""A product as the catalog knows it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Product:
    """Something that can be bought; `quantity` is what the inventory last said is available."""

    id: str
    name: str
    description: str | None
    price: Decimal
    currency: str
    quantity: int
    sku: str | None
    category: str | None
    image_url: str | None
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A product as staff state it."""

    id: str
    name: str
    price: Decimal
    currency: str
    quantity: int
    description: str | None = None
    category: str | None = None
    image_url: str | None = None
    sku: str | None = None
