"""Levels as the catalog and staff state them, and warehouses.

Invariants: a stated level never falls below what is set aside; an old word of the catalog never undoes a newer one; a
deleted product stays deleted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel.errors import Conflict, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory import store
from orderwright.services.inventory.domain import DEFAULT_WAREHOUSE


@dataclass(frozen=True, slots=True)
class Stated:
    """What the catalog said of a product."""

    product_id: str
    at: datetime
    name: str | None = None
    quantity: int | None = None
    created: bool = False
    deleted: bool = False


def hear_catalog(uow: UnitOfWork, said: Sequence[Stated]) -> None:
    """Take in what the catalog said, in the order of its own clock."""
    known = {
        product_id: {
            "product_id": product_id,
            "name": row.name,
            "deleted": row.deleted,
            "catalog_time": row.catalog_time,
        }
        for product_id, row in store.known_products(uow.connection, (s.product_id for s in said)).items()
    }
    levels: dict[str, int] = {}
    touched: dict[str, dict[str, Any]] = {}
    for word in sorted(said, key=lambda s: s.at):
        before = known.get(word.product_id)
        if before is not None and (before["deleted"] or _is_old(before["catalog_time"], word.at)):
            continue
        stated_before = before is not None and before["catalog_time"] is not None
        row = before or {"product_id": word.product_id, "name": None, "deleted": False, "catalog_time": None}
        row["name"] = word.name or row["name"]
        row["deleted"] = word.deleted
        if word.quantity is not None or word.deleted:
            row["catalog_time"] = word.at
        # A second ProductCreated of a product whose stock we know states nothing new about it.
        if word.quantity is not None and not (word.created and stated_before):
            levels[word.product_id] = word.quantity
        known[word.product_id] = touched[word.product_id] = row
    store.save_products(uow.connection, list(touched.values()))
    store.open_stock(uow.connection, [(product_id, DEFAULT_WAREHOUSE) for product_id in levels])
    for product_id, quantity in levels.items():
        level = store.stock_row(uow.connection, product_id, DEFAULT_WAREHOUSE)
        assert level is not None
        _receive(uow, product_id, DEFAULT_WAREHOUSE, max(quantity, level.reserved) - level.on_hand)
    if touched:
        uow.wake("publish-levels")


def set_level(
    uow: UnitOfWork, product_id: str, warehouse_id: str, *, on_hand: int | None = None, adjust: int | None = None
) -> None:
    """Staff counted, or goods came or went. NotFound; Conflict below what is set aside."""
    if product_id not in store.rows_of(uow.connection, [product_id]):
        raise NotFound(f"There is no product {product_id}")
    if store.warehouse(uow.connection, warehouse_id) is None:
        raise NotFound(f"There is no warehouse {warehouse_id}")
    store.open_stock(uow.connection, [(product_id, warehouse_id)])
    row = store.stock_row(uow.connection, product_id, warehouse_id)
    assert row is not None
    change = adjust if adjust is not None else (on_hand or 0) - row.on_hand
    if not _receive(uow, product_id, warehouse_id, change):
        raise Conflict(
            f"{row.reserved} of {product_id} are set aside in {warehouse_id}; the level cannot fall below that",
            problem="stock-below-reserved",
        )
    uow.wake("publish-levels")


def publish_levels(uow: UnitOfWork, *, limit: int = 200) -> int:
    """Tell the levels that changed since they were last told; answers how many."""
    changed = store.take_dirty(uow.connection, limit=limit)
    uow.emit(*(StockUpdated(product_id=product_id, quantity=level) for product_id, level in changed.items()))
    return len(changed)


def open_warehouse(uow: UnitOfWork, warehouse_id: str, name: str, priority: int) -> None:
    """A new warehouse. Conflict when there is one of that id."""
    row = {"id": warehouse_id, "name": name, "priority": priority, "active": True, "created_at": uow.now}
    if not store.insert_warehouse(uow.connection, row):
        raise Conflict(f"There is a warehouse {warehouse_id}", problem="warehouse-exists")


def ensure_default_warehouse(uow: UnitOfWork) -> None:
    """There is always one warehouse, where goods of the catalog arrive."""
    row = {"id": DEFAULT_WAREHOUSE, "name": "Main warehouse", "priority": 0, "active": True, "created_at": uow.now}
    store.insert_warehouse(uow.connection, row)


def change_warehouse(uow: UnitOfWork, warehouse_id: str, changes: Mapping[str, Any]) -> Any:
    """Rename, reorder, open or close a warehouse. NotFound."""
    if store.warehouse(uow.connection, warehouse_id) is None:
        raise NotFound(f"There is no warehouse {warehouse_id}")
    store.update_warehouse(uow.connection, warehouse_id, changes)
    uow.wake("publish-levels")
    return store.warehouse(uow.connection, warehouse_id)


def _is_old(known: datetime | None, at: datetime) -> bool:
    return known is not None and at < known


def _receive(uow: UnitOfWork, product_id: str, warehouse_id: str, change: int) -> bool:
    return store.apply(uow.connection, store.RECEIVE, {(product_id, warehouse_id): change})
