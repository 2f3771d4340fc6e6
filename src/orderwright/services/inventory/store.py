"""The inventory's SQL. Every change of stock is one conditional statement; the rows that it affects decide.

Invariant: a statement that would take what is not there changes nothing, and the caller sees it by the count.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.database import insert_ignoring, insert_updating
from orderwright.services.inventory.domain import Levels, Reservation, ReservationKind, ReservationStatus, Take
from orderwright.services.inventory.tables import products, reservation_lines, reservations, stock, warehouses

Moves = Mapping[tuple[str, str], int]
"""How many, by (product, warehouse)."""

_KEY = (stock.c.product_id == sa.bindparam("p")) & (stock.c.warehouse_id == sa.bindparam("w"))
_N = sa.bindparam("n", type_=sa.BigInteger)

RESERVE = sa.update(stock).where(_KEY, stock.c.on_hand - stock.c.reserved >= _N).values(reserved=stock.c.reserved + _N)
RELEASE = sa.update(stock).where(_KEY, stock.c.reserved >= _N).values(reserved=stock.c.reserved - _N)
DEDUCT = (
    sa.update(stock)
    .where(_KEY, stock.c.reserved >= _N)
    .values(on_hand=stock.c.on_hand - _N, reserved=stock.c.reserved - _N, sold=stock.c.sold + _N)
)
DEDUCT_FREE = (
    sa.update(stock)
    .where(_KEY, stock.c.on_hand - stock.c.reserved >= _N)
    .values(on_hand=stock.c.on_hand - _N, sold=stock.c.sold + _N)
)
RESTOCK = sa.update(stock).where(_KEY).values(on_hand=stock.c.on_hand + _N, returned=stock.c.returned + _N)
RECEIVE = (
    sa.update(stock)
    .where(_KEY, stock.c.on_hand + _N >= stock.c.reserved)
    .values(on_hand=stock.c.on_hand + _N, received=stock.c.received + _N)
)


def apply(connection: sa.Connection, statement: sa.Update, moves: Moves) -> bool:
    """Carry out one conditional change for each (product, warehouse); answers whether every one of them held."""
    rows = [{"p": product, "w": warehouse, "n": n} for (product, warehouse), n in sorted(moves.items()) if n]
    if not rows:
        return True
    done = sum(connection.execute(statement, row).rowcount for row in rows)
    _mark_dirty(connection, {product for (product, _), n in moves.items() if n})
    return done == len(rows)


def moves_of(takes: Iterable[Take]) -> dict[tuple[str, str], int]:
    """Takes added up by product and warehouse."""
    moves: defaultdict[tuple[str, str], int] = defaultdict(int)
    for take in takes:
        moves[take.product_id, take.warehouse_id] += take.quantity
    return dict(moves)


def levels(connection: sa.Connection, product_ids: Iterable[str], *, lock: bool = False) -> Levels:
    """What can be taken now, by warehouse in order of use; deleted products and closed warehouses have nothing."""
    query = (
        sa.select(stock.c.product_id, stock.c.warehouse_id, (stock.c.on_hand - stock.c.reserved).label("available"))
        .join(warehouses, warehouses.c.id == stock.c.warehouse_id)
        .join(products, products.c.product_id == stock.c.product_id)
        .where(stock.c.product_id.in_(sorted(set(product_ids))), warehouses.c.active, sa.not_(products.c.deleted))
        .order_by(stock.c.product_id, warehouses.c.priority, warehouses.c.id)
    )
    found = Levels()
    for row in connection.execute(query.with_for_update(of=stock) if lock else query):
        found.by_product.setdefault(row.product_id, {})[row.warehouse_id] = row.available
    return found


def rows_of(connection: sa.Connection, product_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The stock rows of products, by product; a known product without stock has none."""
    known = connection.execute(
        sa.select(products.c.product_id).where(products.c.product_id.in_(product_ids), sa.not_(products.c.deleted))
    ).scalars()
    found: dict[str, list[Any]] = {product_id: [] for product_id in sorted(known)}
    query = sa.select(stock).where(stock.c.product_id.in_(list(found))).order_by(stock.c.warehouse_id)
    for row in connection.execute(query):
        found[row.product_id].append(row)
    return found


def product_ids(connection: sa.Connection, *, after: str | None, limit: int) -> list[str]:
    """Known products by id, after that one."""
    query = sa.select(products.c.product_id).where(sa.not_(products.c.deleted)).order_by(products.c.product_id)
    if after is not None:
        query = query.where(products.c.product_id > after)
    return list(connection.execute(query.limit(limit)).scalars())


def known_products(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Any]:
    """What is known of these products, locked."""
    query = sa.select(products).where(products.c.product_id.in_(sorted(set(ids)))).with_for_update()
    return {row.product_id: row for row in connection.execute(query)}


def save_products(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write products as they are known now."""
    if rows:
        changes = ("name", "deleted", "catalog_time")
        statement = insert_updating(connection, products, ("product_id",), changes)
        connection.execute(statement, [{**row, "dirty": True} for row in rows])


def open_stock(connection: sa.Connection, places: Iterable[tuple[str, str]]) -> None:
    """Make empty stock rows for these (product, warehouse) where there are none."""
    rows = [
        {"product_id": p, "warehouse_id": w, "on_hand": 0, "reserved": 0, "received": 0, "sold": 0, "returned": 0}
        for p, w in sorted(set(places))
    ]
    if rows:
        connection.execute(insert_ignoring(connection, stock), rows)


def stock_row(connection: sa.Connection, product_id: str, warehouse_id: str) -> Any | None:
    """One stock row, locked."""
    query = sa.select(stock).where(stock.c.product_id == product_id, stock.c.warehouse_id == warehouse_id)
    return connection.execute(query.with_for_update()).one_or_none()


def take_dirty(connection: sa.Connection, *, limit: int) -> dict[str, int]:
    """Products whose level changed since it was last told, with what is available now; they count as told."""
    chosen = sa.select(products.c.product_id).where(products.c.dirty).limit(limit).with_for_update(skip_locked=True)
    statement = (
        sa.update(products)
        .where(products.c.product_id.in_(chosen))
        .values(dirty=False)
        .returning(products.c.product_id, products.c.deleted)
    )
    changed = [row.product_id for row in connection.execute(statement).all() if not row.deleted]
    now = levels(connection, changed)
    return {product_id: now.available(product_id) for product_id in sorted(changed)}


def insert_reservations(connection: sa.Connection, new: Sequence[Reservation]) -> None:
    """Write new reservations with their lines."""
    if not new:
        return
    connection.execute(
        sa.insert(reservations),
        [
            {
                "id": r.id,
                "order_id": r.order_id,
                "kind": r.kind.value,
                "owner": r.owner,
                "status": r.status.value,
                "reason": r.reason,
                "expires_at": r.expires_at,
                "created_at": r.created_at,
                "updated_at": r.updated_at,
            }
            for r in new
        ],
    )
    insert_lines(connection, [(r.id, take) for r in new for take in r.takes])


def insert_lines(connection: sa.Connection, lines: Sequence[tuple[str, Take]]) -> None:
    """Write the lines of reservations that have none yet."""
    if lines:
        connection.execute(
            sa.insert(reservation_lines),
            [
                {
                    "reservation_id": id_,
                    "product_id": take.product_id,
                    "warehouse_id": take.warehouse_id,
                    "quantity": take.quantity,
                }
                for id_, take in lines
            ],
        )


def replace_lines(connection: sa.Connection, reservation_id: str, takes: Sequence[Take]) -> None:
    """Give a reservation other lines."""
    connection.execute(sa.delete(reservation_lines).where(reservation_lines.c.reservation_id == reservation_id))
    insert_lines(connection, [(reservation_id, take) for take in takes])


def set_status(
    connection: sa.Connection,
    ids: Sequence[str],
    status: ReservationStatus,
    now: datetime,
    *,
    reason: str | None = None,
) -> None:
    """These reservations, which the caller holds locked, have that status now."""
    if ids:
        connection.execute(
            sa.update(reservations)
            .where(reservations.c.id.in_(ids))
            .values(status=status.value, updated_at=now, **({"reason": reason} if reason else {}))
        )


def set_expiry(connection: sa.Connection, reservation_id: str, expires_at: datetime | None, now: datetime) -> None:
    """A reservation lasts until then."""
    connection.execute(
        sa.update(reservations).where(reservations.c.id == reservation_id).values(expires_at=expires_at, updated_at=now)
    )


def by_order(connection: sa.Connection, order_ids: Iterable[str], *, lock: bool = False) -> dict[str, Reservation]:
    """The reservations of these orders."""
    query = (
        sa.select(reservations).where(reservations.c.order_id.in_(sorted(set(order_ids)))).order_by(reservations.c.id)
    )
    found = _with_lines(connection, connection.execute(query.with_for_update() if lock else query).all())
    return {r.order_id: r for r in found if r.order_id is not None}


def by_id(connection: sa.Connection, reservation_id: str, *, lock: bool = False) -> Reservation | None:
    """One reservation."""
    query = sa.select(reservations).where(reservations.c.id == reservation_id)
    found = _with_lines(connection, connection.execute(query.with_for_update() if lock else query).all())
    return found[0] if found else None


def newest(connection: sa.Connection, *, limit: int) -> list[Reservation]:
    """The newest reservations."""
    query = sa.select(reservations).order_by(reservations.c.id.desc()).limit(limit)
    return _with_lines(connection, connection.execute(query).all())


def soft_of(connection: sa.Connection, owners: Iterable[str]) -> list[Reservation]:
    """What is set aside for these people's carts, locked."""
    query = sa.select(reservations).where(
        reservations.c.owner.in_(sorted(set(owners))),
        reservations.c.kind == ReservationKind.CART.value,
        reservations.c.status == ReservationStatus.RESERVED.value,
    )
    return _with_lines(connection, connection.execute(query.with_for_update()).all())


def expired(connection: sa.Connection, now: datetime, *, limit: int) -> list[Reservation]:
    """Living reservations whose time is over, locked."""
    query = (
        sa.select(reservations)
        .where(reservations.c.status == ReservationStatus.RESERVED.value, reservations.c.expires_at <= now)
        .order_by(reservations.c.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return _with_lines(connection, connection.execute(query).all())


def all_warehouses(connection: sa.Connection) -> list[Any]:
    """Warehouses in order of use."""
    return list(connection.execute(sa.select(warehouses).order_by(warehouses.c.priority, warehouses.c.id)))


def warehouse(connection: sa.Connection, warehouse_id: str) -> Any | None:
    """One warehouse."""
    return connection.execute(sa.select(warehouses).where(warehouses.c.id == warehouse_id)).one_or_none()


def insert_warehouse(connection: sa.Connection, row: Mapping[str, Any]) -> bool:
    """Open a warehouse; answers whether there was none of that id."""
    statement = insert_ignoring(connection, warehouses).returning(warehouses.c.id)
    return connection.execute(statement, [dict(row)]).one_or_none() is not None


def update_warehouse(connection: sa.Connection, warehouse_id: str, changes: Mapping[str, Any]) -> None:
    """Change a warehouse; the levels of what lies there may change with it."""
    connection.execute(sa.update(warehouses).where(warehouses.c.id == warehouse_id).values(**changes))
    there = sa.select(stock.c.product_id).where(stock.c.warehouse_id == warehouse_id)
    connection.execute(sa.update(products).where(products.c.product_id.in_(there)).values(dirty=True))


def _mark_dirty(connection: sa.Connection, ids: Iterable[str]) -> None:
    chosen = products.c.product_id.in_(sorted(ids))
    connection.execute(sa.update(products).where(chosen, sa.not_(products.c.dirty)).values(dirty=True))


def _with_lines(connection: sa.Connection, rows: Sequence[Any]) -> list[Reservation]:
    lines: dict[str, list[Take]] = {row.id: [] for row in rows}
    if lines:
        query = sa.select(reservation_lines).where(reservation_lines.c.reservation_id.in_(list(lines)))
        for row in connection.execute(query.order_by(reservation_lines.c.product_id, reservation_lines.c.warehouse_id)):
            lines[row.reservation_id].append(Take(row.product_id, row.warehouse_id, row.quantity))
    return [
        Reservation(
            id=row.id,
            order_id=row.order_id,
            kind=ReservationKind(row.kind),
            owner=row.owner,
            status=ReservationStatus(row.status),
            takes=tuple(lines[row.id]),
            expires_at=row.expires_at,
            created_at=row.created_at,
            updated_at=row.updated_at,
            reason=row.reason,
        )
        for row in rows
    ]
