"""Warehouses in SQL."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import insert_new
from orderwright.services.inventory.tables import products, stock, warehouses


def listed(connection: sa.Connection) -> list[Any]:
    """Warehouses in order of use."""
    return list(connection.execute(sa.select(warehouses).order_by(warehouses.c.priority, warehouses.c.id)))


def by_id(connection: sa.Connection, warehouse_id: str) -> Any | None:
    """One warehouse."""
    return connection.execute(sa.select(warehouses).where(warehouses.c.id == warehouse_id)).one_or_none()


def insert(connection: sa.Connection, row: Mapping[str, Any]) -> bool:
    """Open a warehouse; answers whether there was none of that id."""
    return bool(insert_new(connection, warehouses, [row], ["id"]))


def update(connection: sa.Connection, warehouse_id: str, changes: Mapping[str, Any]) -> None:
    """Change a warehouse; the levels of what lies there may change with it."""
    connection.execute(sa.update(warehouses).where(warehouses.c.id == warehouse_id).values(**changes))
    there = sa.select(stock.c.product_id).where(stock.c.warehouse_id == warehouse_id)
    connection.execute(sa.update(products).where(products.c.product_id.in_(there)).values(dirty=True))
