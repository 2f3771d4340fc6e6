"""Levels as the catalog and staff state them, and warehouses.

Invariants: a stated level never falls below what is set aside; an old word of the catalog never undoes a newer one; a
deleted product stays deleted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel.errors import Conflict, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory.domain import DEFAULT_WAREHOUSE, Product, Stated, StockMoved, Take
from orderwright.services.inventory.store import levels, moving, warehouses


def hear_catalog(uow: UnitOfWork, said: Sequence[Stated]) -> None:
    """Take in what the catalog said, in the order of its own clock."""
    ids = {word.product_id for word in said}
    known = levels.known_products(uow.connection, ids)
    stocked = set(levels.in_warehouse(uow.connection, ids, DEFAULT_WAREHOUSE))
    changed: dict[str, Product] = {}
    stated: dict[str, int] = {}
    for word in sorted(said, key=lambda word: word.at):
        before = changed.get(word.product_id) or known[word.product_id]
        after = before.after(word)
        if after is None:
            continue
        changed[word.product_id] = after
        # That a product was created says nothing about goods that are there already.
        if word.quantity is not None and not (word.created and word.product_id in stocked):
            stated[word.product_id] = word.quantity
            stocked.add(word.product_id)
    levels.save_products(uow.connection, list(changed.values()))
    _state(uow, stated)
    if changed:
        uow.wake("publish-levels")


def set_level(
    uow: UnitOfWork, product_id: str, warehouse_id: str, *, on_hand: int | None = None, adjust: int | None = None
) -> None:
    """Staff counted, or goods came or went. NotFound; Conflict below what is set aside."""
    if product_id not in levels.by_product(uow.connection, [product_id]):
        raise NotFound(f"There is no product {product_id}")
    if warehouses.by_id(uow.connection, warehouse_id) is None:
        raise NotFound(f"There is no warehouse {warehouse_id}")
    levels.open_stock(uow.connection, [product_id], warehouse_id)
    row = levels.in_warehouse(uow.connection, [product_id], warehouse_id)[product_id]
    change = adjust if adjust is not None else (on_hand or 0) - row.on_hand
    try:
        received = [Take(product_id, warehouse_id, change)]
        moving.apply(uow.connection, moving.moves_of((moving.RECEIVE, received)))
    except StockMoved:
        raise Conflict(
            f"{row.reserved} of {product_id} are set aside in {warehouse_id}; the level cannot fall below that",
            problem="stock-below-reserved",
        ) from None
    uow.wake("publish-levels")


def publish_levels(uow: UnitOfWork, *, limit: int = 200) -> int:
    """Tell the levels that changed since they were last told; answers how many."""
    changed = levels.take_dirty(uow.connection, limit=limit)
    uow.emit(*(StockUpdated(product_id=product_id, quantity=level) for product_id, level in changed.items()))
    return len(changed)


def open_warehouse(uow: UnitOfWork, warehouse_id: str, name: str, priority: int) -> None:
    """A new warehouse. Conflict when there is one of that id."""
    row = {"id": warehouse_id, "name": name, "priority": priority, "active": True, "created_at": uow.now}
    if not warehouses.insert(uow.connection, row):
        raise Conflict(f"There is a warehouse {warehouse_id}", problem="warehouse-exists")


def ensure_default_warehouse(uow: UnitOfWork) -> None:
    """There is always one warehouse, where goods of the catalog arrive."""
    row = {"id": DEFAULT_WAREHOUSE, "name": "Main warehouse", "priority": 0, "active": True, "created_at": uow.now}
    warehouses.insert(uow.connection, row)


def change_warehouse(uow: UnitOfWork, warehouse_id: str, changes: Mapping[str, Any]) -> Any:
    """Rename, reorder, open or close a warehouse. NotFound."""
    if warehouses.by_id(uow.connection, warehouse_id) is None:
        raise NotFound(f"There is no warehouse {warehouse_id}")
    warehouses.update(uow.connection, warehouse_id, changes)
    uow.wake("publish-levels")
    return warehouses.by_id(uow.connection, warehouse_id)


def _state(uow: UnitOfWork, stated: Mapping[str, int]) -> None:
    """Bring the default warehouse to these levels, but never below what is set aside there."""
    levels.open_stock(uow.connection, stated, DEFAULT_WAREHOUSE)
    rows = levels.in_warehouse(uow.connection, stated, DEFAULT_WAREHOUSE)
    received = [
        Take(product_id, DEFAULT_WAREHOUSE, max(quantity, rows[product_id].reserved) - rows[product_id].on_hand)
        for product_id, quantity in stated.items()
    ]
    moving.apply(uow.connection, moving.moves_of((moving.RECEIVE, received)))
