"""A cart and its lines, and what is known of products.

Invariant: what is known of a product depends on what the catalog said and when, never on the order in which it came
here; a product that was deleted stays deleted.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Said:
    """What the catalog said of a product, at `at` by its own clock; without a price it was deleted."""

    product_id: str
    at: datetime
    price: Decimal | None
    currency: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """What is known of a product; one whose price was never heard and that was not deleted is unknown."""

    product_id: str
    price: Decimal | None = None
    currency: str | None = None
    priced_at: datetime | None = None
    name: str | None = None
    named_at: datetime | None = None
    deleted: bool = False

    @property
    def known(self) -> bool:
        return self.deleted or self.price is not None

    def after(self, said: Said) -> "Product":
        """What is known when this is heard as well; price and name each have the newest word that was said of them."""
        if self.deleted:
            return self
        if said.price is None:
            return replace(self, deleted=True)
        product = self
        if _is_news(said.at, self.priced_at):
            product = replace(product, price=said.price, currency=said.currency, priced_at=said.at)
        if said.name is not None and _is_news(said.at, self.named_at):
            product = replace(product, name=said.name, named_at=said.at)
        return product


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

    def quantity_of(self, product_id: str) -> int:
        """How many of a product are in it."""
        return next((line.quantity for line in self.lines if line.product_id == product_id), 0)

    @property
    def currency(self) -> str | None:
        """The one currency of all lines; None for an empty cart."""
        return self.lines[0].currency if self.lines else None


def _is_news(at: datetime, known_at: datetime | None) -> bool:
    return known_at is None or at >= known_at
