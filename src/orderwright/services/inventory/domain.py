"""Stock and reservations as pure rules: what a reservation may become, and from which warehouse goods are taken.

Invariant: a plan never takes more than the levels that it was given, and takes all of an order or nothing. A plan is
only a wish; the conditional statements in `store` decide.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

import msgspec

from orderwright.kernel.errors import OrderwrightError

DEFAULT_WAREHOUSE = "main"


class StockMoved(OrderwrightError):
    """The goods of a plan were taken by somebody else in between: roll back and plan again."""


class ReservationStatus(StrEnum):
    """CONTRACT section 3."""

    RESERVED = "reserved"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEDUCTED = "deducted"


class ReservationKind(StrEnum):
    """Whom goods are set aside for."""

    ORDER = "order"
    MANUAL = "manual"
    CART = "cart"


@dataclass(frozen=True, slots=True)
class Stated:
    """What the catalog said of a product, and when."""

    product_id: str
    at: datetime
    name: str | None = None
    quantity: int | None = None
    created: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """What is known of a product; `catalog_time` is the time of the catalog's last word on its quantity."""

    product_id: str
    name: str | None = None
    deleted: bool = False
    catalog_time: datetime | None = None

    def after(self, word: Stated) -> "Product | None":
        """The product once `word` is heard; None when it says nothing new.

        A deletion is final, whatever the clocks say. Otherwise a word counts only when it is newer than the last one:
        the same statement in another message would bring back what has been sold since.
        """
        if self.deleted:
            return None
        if word.deleted:
            return replace(self, deleted=True, catalog_time=word.at)
        if self.catalog_time is not None and word.at <= self.catalog_time:
            return None
        says_quantity = word.created or word.quantity is not None
        return replace(self, name=word.name or self.name, catalog_time=word.at if says_quantity else self.catalog_time)


class Take(msgspec.Struct, frozen=True):
    """So many of a product from one warehouse."""

    product_id: str
    warehouse_id: str
    quantity: int


class Reservation(msgspec.Struct, frozen=True):
    """Goods set aside."""

    id: str
    order_id: str | None
    kind: ReservationKind
    owner: str | None
    status: ReservationStatus
    takes: tuple[Take, ...]
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    reason: str | None = None

    @property
    def wanted(self) -> dict[str, int]:
        """How many of each product, over all warehouses."""
        return totals((take.product_id, take.quantity) for take in self.takes)


@dataclass(frozen=True, slots=True)
class Shortage:
    """What is missing of one product."""

    product_id: str
    requested: int
    available: int

    def __str__(self) -> str:
        return f"Insufficient inventory for {self.product_id}: {self.requested} requested, {self.available} available"


@dataclass(slots=True)
class Levels:
    """What is available, by product and warehouse, in the order in which warehouses are to be used."""

    by_product: dict[str, dict[str, int]] = field(default_factory=dict)

    def available(self, product_id: str) -> int:
        """Over all warehouses."""
        return sum(self.by_product.get(product_id, {}).values())

    def take(self, wanted: Mapping[str, int]) -> tuple[Take, ...] | list[Shortage]:
        """Plan all of `wanted`, and lower the levels by it; or say what is short, and lower nothing."""
        short = [
            Shortage(product_id, quantity, self.available(product_id))
            for product_id, quantity in wanted.items()
            if self.available(product_id) < quantity
        ]
        if short:
            return short
        whole = self._warehouse_with_everything(wanted)
        takes = [take for product_id, n in wanted.items() for take in self._spread(product_id, n, whole)]
        for take in takes:
            self.by_product[take.product_id][take.warehouse_id] -= take.quantity
        return tuple(takes)

    def give(self, takes: Iterable[Take]) -> None:
        """Raise the levels by what comes back; what comes back to a closed warehouse can still not be taken."""
        for take in takes:
            here = self.by_product.get(take.product_id, {})
            if take.warehouse_id in here:
                here[take.warehouse_id] += take.quantity

    def _spread(self, product_id: str, quantity: int, whole: str | None) -> list[Take]:
        if whole is not None:
            return [Take(product_id, whole, quantity)]
        takes: list[Take] = []
        missing = quantity
        for warehouse_id, available in self.by_product[product_id].items():
            here = min(available, missing)
            if here > 0:
                takes.append(Take(product_id, warehouse_id, here))
                missing -= here
        return takes

    def _warehouse_with_everything(self, wanted: Mapping[str, int]) -> str | None:
        first = next(iter(wanted), "")
        for warehouse_id in self.by_product.get(first, {}):
            if all(self.by_product.get(p, {}).get(warehouse_id, 0) >= n for p, n in wanted.items()):
                return warehouse_id
        return None


def totals(lines: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Lines added up by product, in the order in which products first appear: two lines of one product are one wish."""
    added: dict[str, int] = {}
    for product_id, quantity in lines:
        added[product_id] = added.get(product_id, 0) + quantity
    return added


def reason_of(shortages: Sequence[Shortage]) -> str:
    """All shortages in one text."""
    return "; ".join(str(shortage) for shortage in shortages)
