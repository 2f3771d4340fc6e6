"""Reservations and their lines in SQL.

Invariant: whoever ends or changes a reservation reads it locked first, so that it ends once.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import among, change_all, due, later, one_of
from orderwright.kernel.rows import insert as insert_rows
from orderwright.services.inventory.domain import Reservation, ReservationKind, ReservationStatus, StockMoved, Take
from orderwright.services.inventory.tables import reservation_lines, reservations

_BY_ORDERS = sa.select(reservations).where(among(reservations.c.order_id, "ids")).order_by(reservations.c.id)
_BY_ORDERS_LOCKED = _BY_ORDERS.with_for_update()
_LINES = (
    sa.select(reservation_lines)
    .where(among(reservation_lines.c.reservation_id, "ids"))
    .order_by(reservation_lines.c.product_id, reservation_lines.c.warehouse_id)
)
_EXPIRED = due(
    sa.select(reservations).where(reservations.c.status == ReservationStatus.RESERVED.value), reservations.c.expires_at
)

_OF_ORDERS_OR_CARTS = among(reservations.c.order_id, "ids") | sa.and_(
    among(reservations.c.owner, "owners"),
    # As they stand in the index, which knows carts only.
    sa.literal_column("kind = 'cart'"),
    sa.literal_column("status = 'reserved'"),
)
_BY_ORDERS_AND_CARTS = sa.select(reservations).where(_OF_ORDERS_OR_CARTS).order_by(reservations.c.id).with_for_update()
WITH_LINES = (
    sa.select(
        reservations,
        reservation_lines.c.product_id,
        reservation_lines.c.warehouse_id,
        reservation_lines.c.quantity,
    )
    .outerjoin(reservation_lines, reservation_lines.c.reservation_id == reservations.c.id)
    .where(_OF_ORDERS_OR_CARTS)
)
"""The reservations of orders (`ids`) and of people's carts (`owners`), with each line; see `joined`."""
_SET_STATUS = (
    sa.update(reservations)
    .where(among(reservations.c.id, "ids"))
    .values(
        status=sa.bindparam("new"),
        updated_at=sa.bindparam("now"),
        reason=sa.func.coalesce(sa.bindparam("why", type_=reservations.c.reason.type), reservations.c.reason),
    )
)

_ENDED = "status = given.status, reason = coalesce(given.reason, reservations.reason), updated_at = given.updated_at"


def insert(connection: sa.Connection, new: Sequence[Reservation]) -> None:
    """Write new reservations with their lines."""
    if not new:
        return
    insert_rows(
        connection,
        reservations,
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
    _insert_lines(connection, [(r.id, take) for r in new for take in r.takes])


def _insert_lines(connection: sa.Connection, lines: Sequence[tuple[str, Take]]) -> None:
    """Write the lines of reservations that have none yet."""
    if lines:
        insert_rows(
            connection,
            reservation_lines,
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


def replace_lines(connection: sa.Connection, changed: Mapping[str, Sequence[Take]]) -> None:
    """Give reservations, by their ids, other lines."""
    if changed:
        connection.execute(
            sa.delete(reservation_lines).where(one_of(reservation_lines.c.reservation_id, sorted(changed)))
        )
        _insert_lines(connection, [(id_, take) for id_, takes in changed.items() for take in takes])


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
        values = {"ids": list(ids), "new": status.value, "now": now, "why": reason}
        later(connection, reservations, _SET_STATUS, values)


def end(connection: sa.Connection, ended: Sequence[Reservation], now: datetime) -> None:
    """These, which were living, have the status and the reason that they are given with. StockMoved when one is not."""
    rows = [{"id": r.id, "status": r.status.value, "reason": r.reason, "updated_at": now} for r in ended]
    if not change_all(connection, reservations, rows, ["id"], _ENDED, "reservations.status = 'reserved'"):
        raise StockMoved("What was to end is over already")


def set_expiry(connection: sa.Connection, reservation_id: str, expires_at: datetime | None, now: datetime) -> None:
    """A reservation lasts until then."""
    connection.execute(
        sa.update(reservations).where(reservations.c.id == reservation_id).values(expires_at=expires_at, updated_at=now)
    )


def by_order(connection: sa.Connection, order_ids: Iterable[str], *, lock: bool = False) -> dict[str, Reservation]:
    """The reservations of these orders."""
    rows = connection.execute(_BY_ORDERS_LOCKED if lock else _BY_ORDERS, {"ids": sorted(set(order_ids))}).all()
    found = _with_lines(connection, rows)
    return {r.order_id: r for r in found if r.order_id is not None}


def by_order_and_cart(
    connection: sa.Connection, order_ids: Iterable[str], owners: Iterable[str]
) -> tuple[dict[str, Reservation], list[Reservation]]:
    """The reservations of these orders, and what is set aside for these people's carts, locked."""
    wanted = {"ids": sorted(set(order_ids)), "owners": sorted(set(owners))}
    return apart(_with_lines(connection, connection.execute(_BY_ORDERS_AND_CARTS, wanted).all()))


def by_id(connection: sa.Connection, reservation_id: str, *, lock: bool = False) -> Reservation | None:
    """One reservation."""
    query = sa.select(reservations).where(reservations.c.id == reservation_id)
    found = _with_lines(connection, connection.execute(query.with_for_update() if lock else query).all())
    return found[0] if found else None


def newest(connection: sa.Connection, *, limit: int) -> list[Reservation]:
    """The newest reservations."""
    query = sa.select(reservations).order_by(reservations.c.id.desc()).limit(limit)
    return _with_lines(connection, connection.execute(query).all())


def expired(connection: sa.Connection, now: datetime, *, limit: int) -> list[Reservation]:
    """Living reservations whose time is over, locked."""
    return _with_lines(connection, connection.execute(_EXPIRED, {"now": now, "most": limit}).all())


def _with_lines(connection: sa.Connection, rows: Sequence[Any]) -> list[Reservation]:
    lines: dict[str, list[Take]] = {row.id: [] for row in rows}
    if lines:
        for row in connection.execute(_LINES, {"ids": list(lines)}):
            lines[row.reservation_id].append(_take(row))
    return [_reservation(row, lines[row.id]) for row in rows]


def apart(found: Sequence[Reservation]) -> tuple[dict[str, Reservation], list[Reservation]]:
    """Those of orders, by order, and those of carts."""
    return {r.order_id: r for r in found if r.order_id is not None}, [r for r in found if r.order_id is None]


def joined(rows: Iterable[Any]) -> list[Reservation]:
    """The reservations of which each row has a line."""
    by_id: dict[str, list[Any]] = {}
    for row in rows:
        by_id.setdefault(row.id, []).append(row)
    return [_reservation(of[0], [_take(row) for row in of if row.product_id is not None]) for of in by_id.values()]


def _take(row: Any) -> Take:
    return Take(row.product_id, row.warehouse_id, row.quantity)


def _reservation(row: Any, takes: Sequence[Take]) -> Reservation:
    return Reservation(
        id=row.id,
        order_id=row.order_id,
        kind=ReservationKind(row.kind),
        owner=row.owner,
        status=ReservationStatus(row.status),
        takes=tuple(takes),
        expires_at=row.expires_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        reason=row.reason,
    )
