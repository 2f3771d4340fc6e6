"""Levels and products in SQL: what can be taken, what lies where, what is still to be told.

Invariant: stock rows are locked in the order of (product, warehouse), here and in `moving`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import among, insert_ignoring, insert_updating, one_of
from orderwright.services.inventory.domain import Levels, Product
from orderwright.services.inventory.tables import products, stock, warehouses

AVAILABLE = (
    sa.select(
        stock.c.product_id,
        stock.c.warehouse_id,
        (stock.c.on_hand - stock.c.reserved).label("available"),
        warehouses.c.priority,
    )
    .join(warehouses, warehouses.c.id == stock.c.warehouse_id)
    .join(products, products.c.product_id == stock.c.product_id)
    .where(among(stock.c.product_id, "products"), warehouses.c.active, sa.not_(products.c.deleted))
)
"""What of `products` can be taken, by warehouse; see `of_rows`."""
_AVAILABLE_LOCKED = AVAILABLE.order_by(stock.c.product_id, stock.c.warehouse_id).with_for_update(of=stock)
_IN_WAREHOUSE = (
    sa.select(stock)
    .where(among(stock.c.product_id, "ids"), stock.c.warehouse_id == sa.bindparam("warehouse"))
    .order_by(stock.c.product_id)
    .with_for_update()
)
_PRODUCTS_LOCKED = (
    sa.select(products).where(among(products.c.product_id, "ids")).order_by(products.c.product_id).with_for_update()
)
_TAKE_DIRTY = (
    sa.update(products)
    .where(
        products.c.product_id.in_(
            sa.select(products.c.product_id)
            .where(products.c.dirty)
            .limit(sa.bindparam("most", type_=sa.Integer))
            .with_for_update(skip_locked=True)
        )
    )
    .values(dirty=False)
    .returning(products.c.product_id, products.c.deleted)
)


def available(connection: sa.Connection, product_ids: Iterable[str], *, lock: bool = False) -> Levels:
    """What can be taken now, by warehouse in order of use; deleted products and closed warehouses have nothing."""
    wanted = sorted(set(product_ids))
    if not wanted:
        return Levels()
    return of_rows(connection.execute(_AVAILABLE_LOCKED if lock else AVAILABLE, {"products": wanted}))


def of_rows(rows: Iterable[Any]) -> Levels:
    """The levels that these rows of `AVAILABLE` tell."""
    found = Levels()
    for row in sorted(rows, key=lambda row: (row.product_id, row.priority, row.warehouse_id)):
        found.by_product.setdefault(row.product_id, {})[row.warehouse_id] = row.available
    return found


def by_product(connection: sa.Connection, product_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The stock rows of products, with whether their warehouse is open; a known product without stock has none."""
    known = connection.execute(
        sa.select(products.c.product_id).where(one_of(products.c.product_id, product_ids), sa.not_(products.c.deleted))
    ).scalars()
    found: dict[str, list[Any]] = {product_id: [] for product_id in sorted(known)}
    query = (
        sa.select(stock, warehouses.c.active)
        .join(warehouses, warehouses.c.id == stock.c.warehouse_id)
        .where(one_of(stock.c.product_id, list(found)))
        .order_by(warehouses.c.priority, warehouses.c.id)
    )
    for row in connection.execute(query):
        found[row.product_id].append(row)
    return found


def in_warehouse(connection: sa.Connection, product_ids: Iterable[str], warehouse_id: str) -> dict[str, Any]:
    """The stock rows of products in one warehouse, by product, locked."""
    found = connection.execute(_IN_WAREHOUSE, {"ids": sorted(set(product_ids)), "warehouse": warehouse_id})
    return {row.product_id: row for row in found}


def product_ids(connection: sa.Connection, *, after: str | None, limit: int) -> list[str]:
    """Known products by id, after that one."""
    query = sa.select(products.c.product_id).where(sa.not_(products.c.deleted)).order_by(products.c.product_id)
    if after is not None:
        query = query.where(products.c.product_id > after)
    return list(connection.execute(query.limit(limit)).scalars())


def known_products(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Product]:
    """What is known of these products, locked, each with a row from now on; also of the deleted ones.

    A row that is not there cannot be locked: two that hear of a new product at once would overwrite each other.
    """
    wanted = sorted(set(ids))
    found = _locked_products(connection, wanted)
    if missing := [Product(product_id) for product_id in wanted if product_id not in found]:
        insert_ignoring(connection, products, [_product_row(product) for product in missing])
        found |= _locked_products(connection, [product.product_id for product in missing])
    return found


def _locked_products(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Product]:
    return {
        row.product_id: Product(row.product_id, row.name, row.deleted, row.catalog_time)
        for row in connection.execute(_PRODUCTS_LOCKED, {"ids": list(ids)})
    }


def save_products(connection: sa.Connection, changed: Sequence[Product]) -> None:
    """Write products as they are known now."""
    rows = [_product_row(product) for product in sorted(changed, key=lambda product: product.product_id)]
    insert_updating(connection, products, rows, ["product_id"], ["name", "deleted", "catalog_time"])


def _product_row(product: Product) -> dict[str, Any]:
    return {
        "product_id": product.product_id,
        "name": product.name,
        "deleted": product.deleted,
        "catalog_time": product.catalog_time,
        # Of a new product also the level 0 is news; a known one is marked by what changes its level.
        "dirty": True,
    }


def open_stock(connection: sa.Connection, product_ids: Iterable[str], warehouse_id: str) -> None:
    """Make empty stock rows for these products where there are none."""
    rows = [
        {
            "product_id": product_id,
            "warehouse_id": warehouse_id,
            "on_hand": 0,
            "reserved": 0,
            "received": 0,
            "sold": 0,
            "returned": 0,
        }
        for product_id in sorted(set(product_ids))
    ]
    insert_ignoring(connection, stock, rows)


def take_dirty(connection: sa.Connection, *, limit: int) -> dict[str, int]:
    """Products whose level changed since it was last told, with what is available now; they count as told."""
    changed = [row.product_id for row in connection.execute(_TAKE_DIRTY, {"most": limit}).all() if not row.deleted]
    now = available(connection, changed)
    return {product_id: now.available(product_id) for product_id in sorted(changed)}
