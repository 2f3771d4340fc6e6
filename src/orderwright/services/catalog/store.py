"""The catalog's SQL."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import insert_new
from orderwright.services.catalog.domain import NewProduct, Product
from orderwright.services.catalog.tables import products

_MEMBERS = tuple(field.name for field in fields(Product))


def insert(connection: sa.Connection, new: Sequence[NewProduct], now: datetime) -> set[str]:
    """Add products; answers the ids of those that were new."""
    rows = [
        {
            "id": product.id,
            "name": product.name,
            "description": product.description,
            "price": product.price,
            "currency": product.currency,
            "quantity": product.quantity,
            "sku": product.sku,
            "category": product.category,
            "image_url": product.image_url,
            "deleted": False,
            "version": 1,
            "created_at": now,
            "updated_at": now,
        }
        for product in new
    ]
    return {row.id for row in insert_new(connection, products, rows, ["id"])}


def by_id(connection: sa.Connection, product_id: str, *, lock: bool = False) -> Product | None:
    """The product of that id, unless it was deleted."""
    query = sa.select(products).where(products.c.id == product_id, sa.not_(products.c.deleted))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _product(row)


def update(connection: sa.Connection, product: Product, changes: Mapping[str, Any], now: datetime) -> bool:
    """Change a product that still has the version that the caller saw; answers whether it had."""
    statement = (
        sa.update(products)
        .where(products.c.id == product.id, products.c.version == product.version, sa.not_(products.c.deleted))
        .values(**changes, version=product.version + 1, updated_at=now)
    )
    return connection.execute(statement).rowcount == 1


def delete(connection: sa.Connection, product_id: str, now: datetime) -> bool:
    """Take a product out of the catalog; answers whether it was in it."""
    statement = (
        sa.update(products)
        .where(products.c.id == product_id, sa.not_(products.c.deleted))
        .values(deleted=True, version=products.c.version + 1, updated_at=now)
    )
    return connection.execute(statement).rowcount == 1


def listed(
    connection: sa.Connection, *, text: str | None, category: str | None, after: tuple[str, str] | None, limit: int
) -> list[Product]:
    """Products by name, after that (name, id)."""
    query = sa.select(products).where(sa.not_(products.c.deleted)).order_by(products.c.name, products.c.id).limit(limit)
    if text is not None:
        query = query.where(
            products.c.name.icontains(text, autoescape=True) | products.c.description.icontains(text, autoescape=True)
        )
    if category is not None:
        query = query.where(products.c.category == category)
    if after is not None:
        name, product_id = after
        query = query.where((products.c.name > name) | ((products.c.name == name) & (products.c.id > product_id)))
    return [_product(row) for row in connection.execute(query)]


_SET_LEVEL = (
    sa.update(products)
    .where(
        products.c.id == sa.bindparam("product"),
        products.c.quantity_at.is_(None)
        | (products.c.quantity_at <= sa.bindparam("at", type_=products.c.quantity_at.type)),
    )
    .values(
        quantity=sa.bindparam("level", type_=sa.BigInteger),
        quantity_at=sa.bindparam("at", type_=products.c.quantity_at.type),
    )
)


def set_levels(connection: sa.Connection, levels: Iterable[tuple[str, int, datetime]]) -> None:
    """What the inventory said is available; older news than what is known is dropped."""
    newest: dict[str, tuple[datetime, int]] = {}
    for product_id, level, at in levels:
        if product_id not in newest or at >= newest[product_id][0]:
            newest[product_id] = (at, level)
    # In the order of their ids, so that two that do this at once never wait for each other.
    rows = [{"product": product_id, "level": level, "at": at} for product_id, (at, level) in sorted(newest.items())]
    if rows:
        connection.execute(_SET_LEVEL, rows)


def _product(row: Any) -> Product:
    return Product(**{name: getattr(row, name) for name in _MEMBERS})
