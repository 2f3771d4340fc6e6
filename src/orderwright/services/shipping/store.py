"""The shipping service's SQL. A shipment moves by one conditional statement; the row that it affects decides."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import among, insert_ignoring, insert_updating, one_of
from orderwright.services.shipping.domain import Shipment, ShipmentStatus
from orderwright.services.shipping.tables import orders, shipments

_CUSTOMER = sa.select(orders.c.customer_id).where(orders.c.order_id == shipments.c.order_id).scalar_subquery()
_TELL_CUSTOMER = (
    sa.update(shipments)
    .where(among(shipments.c.order_id, "ids"), shipments.c.customer_id.is_(None))
    .values(customer_id=_CUSTOMER)
)
_ORDERS = sa.select(orders).where(among(orders.c.order_id, "ids"))
_TO_SHIP = sa.select(orders).where(among(orders.c.order_id, "ids"), orders.c.completed, orders.c.has_goods)
_BY_ORDER = sa.select(shipments).where(shipments.c.order_id == sa.bindparam("order_id"))


def note_created(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remember whose these orders are and whether there are goods in them; shipments that are there learn it too."""
    insert_updating(
        connection,
        orders,
        [{**row, "completed": False} for row in rows],
        ["order_id"],
        ("customer_id", "has_goods"),
    )
    connection.execute(_TELL_CUSTOMER, {"ids": [row["order_id"] for row in rows]})


def note_completed(connection: sa.Connection, order_ids: Iterable[str]) -> None:
    """Remember that these orders are complete."""
    insert_updating(connection, orders, _blank(order_ids, completed=True), ["order_id"], ("completed",))


def known_orders(connection: sa.Connection, order_ids: Iterable[str]) -> dict[str, Any]:
    """What is known of these orders, also by who hears of them at this moment: one of the two waits for the other."""
    rows = _blank(order_ids, completed=False)
    insert_ignoring(connection, orders, rows)
    found = connection.execute(_ORDERS, {"ids": [row["order_id"] for row in rows]})
    return {row.order_id: row for row in found}


def to_ship(connection: sa.Connection, order_ids: Iterable[str]) -> list[Any]:
    """Those of these orders that are complete and known to have goods."""
    return list(connection.execute(_TO_SHIP, {"ids": sorted(set(order_ids))}))


def insert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make shipments for orders that have none."""
    insert_ignoring(connection, shipments, rows)


def move(
    connection: sa.Connection, chosen: sa.ColumnElement[bool], before: ShipmentStatus, changes: Mapping[str, Any]
) -> int:
    """Move the chosen shipments that are still in `before`; answers how many moved."""
    statement = sa.update(shipments).where(chosen, shipments.c.status == before.value)
    return connection.execute(statement.values(**changes)).rowcount


def by_id(connection: sa.Connection, shipment_id: str) -> Shipment | None:
    """The shipment of that id."""
    row = connection.execute(sa.select(shipments).where(shipments.c.id == shipment_id)).one_or_none()
    return None if row is None else _shipment(row)


def by_order(connection: sa.Connection, order_id: str) -> Shipment | None:
    """The shipment of that order."""
    row = connection.execute(_BY_ORDER, {"order_id": order_id}).one_or_none()
    return None if row is None else _shipment(row)


def listed(
    connection: sa.Connection,
    *,
    customer_id: str | None,
    order_id: str | None,
    status: str | None,
    before: str | None,
    limit: int,
) -> list[Shipment]:
    """The newest shipments, older than `before`."""
    query = sa.select(shipments).order_by(shipments.c.id.desc()).limit(limit)
    for column, value in (
        (shipments.c.customer_id, customer_id),
        (shipments.c.order_id, order_id),
        (shipments.c.status, status),
    ):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(shipments.c.id < before)
    return [_shipment(row) for row in connection.execute(query)]


def of_order(order_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    """The shipments of these orders."""
    return one_of(shipments.c.order_id, order_ids)


def of_id(shipment_id: str) -> sa.ColumnElement[bool]:
    """The shipment of that id."""
    return shipments.c.id == shipment_id


def new_row(
    shipment_id: str, order_id: str, customer_id: str | None, status: ShipmentStatus, now: datetime
) -> dict[str, Any]:
    """A shipment that has not moved yet."""
    return {
        "id": shipment_id,
        "order_id": order_id,
        "customer_id": customer_id,
        "status": status.value,
        "created_at": now,
        "updated_at": now,
    }


def _blank(order_ids: Iterable[str], *, completed: bool) -> list[dict[str, Any]]:
    return [
        {"order_id": id_, "customer_id": None, "has_goods": None, "completed": completed}
        for id_ in sorted(set(order_ids))
    ]


def _shipment(row: Any) -> Shipment:
    return Shipment(**{**dict(row._mapping), "status": ShipmentStatus(row.status)})
