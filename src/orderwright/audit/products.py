"""Products: the catalog alone knows the price, the inventory alone what is there; whoever keeps a copy follows."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from orderwright.audit.books import Books
from orderwright.audit.checks import Moment, Settling, Suspect, mark_of
from orderwright.audit.findings import Finding
from orderwright.audit.paging import pages_by_key
from orderwright.services.cart.tables import products as cart_products
from orderwright.services.catalog.tables import products
from orderwright.services.inventory.tables import products as stocked
from orderwright.services.inventory.tables import stock, warehouses
from orderwright.services.order.tables import products as order_products

_c, _o, _k = products.c, order_products.c, cart_products.c
_CATALOG: Final = sa.select(_c.id, _c.price, _c.currency, _c.deleted, _c.quantity, _c.quantity_at, _c.version)
COPIES: Final[Mapping[str, sa.Select[Any]]] = {
    "order": sa.select(_o.product_id, _o.price, _o.currency, _o.deleted),
    "cart": sa.select(_k.product_id, _k.price, _k.currency, _k.deleted),
    "inventory": sa.select(stocked.c.product_id, stocked.c.deleted, stocked.c.dirty),
}
"""Who keeps what of the catalog. The first column is the product's id."""
PRICED: Final = ("order", "cart")
_LEVELS: Final = (
    sa.select(stock.c.product_id, sa.func.sum(stock.c.on_hand - stock.c.reserved).label("available"))
    .join(warehouses, warehouses.c.id == stock.c.warehouse_id)
    .where(warehouses.c.active)
    .group_by(stock.c.product_id)
)


@dataclass(frozen=True, slots=True)
class Known:
    """A product of the catalog, and what the others have of it."""

    product: Any
    copies: Mapping[str, Any]
    available: int

    def finding(self, kind: str, detail: str) -> Finding:
        """Something found about this product."""
        return Finding(kind, f"product {self.product.id}", detail, self.product.id)


class ProductCheck:
    """Judges the copies of the catalog, and the catalog's copy of the levels."""

    name = "products"
    settling = Settling.SLOWLY

    def __init__(self, books: Books, *, page: int) -> None:
        self._books = books
        self._page = page

    async def pages(self, moment: Moment) -> AsyncIterator[Sequence[str]]:  # noqa: ARG002 - a check is asked so
        async for page in pages_by_key(self._books, "catalog", _c.id, sa.select(_c.id), self._page):
            yield [row[0] for row in page]

    async def look(self, ids: Sequence[str], moment: Moment) -> list[Suspect]:  # noqa: ARG002
        """A product has no time of its last movement everywhere, so here only the second look tells what moves."""
        products_ = await self._rows("catalog", _CATALOG, ids)
        copies = {service: await self._rows(service, query, ids) for service, query in COPIES.items()}
        levels = await self._rows("inventory", _LEVELS, ids)
        suspects: list[Suspect] = []
        for id_, product in products_.items():
            rows = {service: found.get(id_) for service, found in copies.items()}
            known = Known(product, rows, int(levels[id_].available) if id_ in levels else 0)
            if findings := tuple(_judged(known)):
                suspects.append(Suspect(id_, mark_of(product, list(rows.values()), known.available), findings))
        return suspects

    async def _rows(self, service: str, query: sa.Select[Any], ids: Sequence[str]) -> dict[str, Any]:
        key: sa.ColumnElement[Any] = query.selected_columns[0]
        chosen = query.where(key.in_(ids))
        rows = await self._books.read(service, lambda connection: connection.execute(chosen).all())
        return {row[0]: row for row in rows}


def _judged(known: Known) -> Iterator[Finding]:
    product = known.product
    for service, row in known.copies.items():
        # Whoever never heard of a product that is gone does not sell it either.
        if row is None:
            if not product.deleted:
                yield known.finding("product_unheard", f"{service} does not know it")
        elif row.deleted is not product.deleted:
            shown = "deleted" if product.deleted else "not deleted"
            yield known.finding("product_unheard", f"it is {shown}, and {service} has not heard so")
        elif (
            service in PRICED and not product.deleted and (row.price, row.currency) != (product.price, product.currency)
        ):
            prices = f"{product.price} {product.currency}, in {service} {row.price} {row.currency}"
            yield known.finding("price_differs", prices)
    told = known.copies["inventory"]
    if told is not None and not (product.deleted or told.deleted or told.dirty) and known.available != product.quantity:
        yield known.finding("level_unheard", f"{known.available} are available, the catalog shows {product.quantity}")
