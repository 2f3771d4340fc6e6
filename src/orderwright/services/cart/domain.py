"""A cart and its lines, priced as the catalog last said."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class CartLine:
    """How many of a product, at what it costs now."""

    product_id: str
    name: str | None
    quantity: int
    unit_price: Decimal
    currency: str

    @property
    def total_price(self) -> Decimal:
        return self.unit_price * self.quantity


@dataclass(frozen=True, slots=True)
class Cart:
    """What somebody is about to order; its id becomes the order's."""

    id: str
    user_id: str
    updated_at: datetime
    lines: tuple[CartLine, ...]

    @property
    def total_amount(self) -> Decimal:
        return sum((line.total_price for line in self.lines), Decimal(0))

    @property
    def currency(self) -> str | None:
        """The one currency of all lines; None for an empty cart."""
        return self.lines[0].currency if self.lines else None
