"""The order service's SQL: the history, the projections and the sagas, of many orders at once."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from orderwright.kernel.rows import among, due, insert, insert_new, insert_updating, one_of, update
from orderwright.kernel.saga import SagaState, SagaStatus, StepState, StepStatus
from orderwright.services.order.domain import Fact, FactType, FulfillmentStatus, Line, Order
from orderwright.services.order.tables import order_events, order_items, order_sagas, orders, products

Sagas = Mapping[str, tuple[SagaState, datetime | None]]
"""(state, due) by the order's id."""

PROJECTED = (
    "status",
    "payment_status",
    "fulfillment_status",
    "total_amount",
    "refunded_amount",
    "reserved",
    "paid",
    "payment_failed",
    "completed",
    "cancel_reason",
    "cancel_detail",
    "cancel_requested",
    "payment_id",
    "shipping_address",
    "carrier",
    "tracking_number",
    "version",
    "updated_at",
)
"""What a fact can change in the projection `orders`."""
_LOCKED = sa.select(orders).where(among(orders.c.id, "ids")).order_by(orders.c.id).with_for_update()
_SAGA = (
    order_sagas.c.order_id,
    order_sagas.c.status.label("saga_status"),
    order_sagas.c.steps,
    order_sagas.c.reason,
    order_sagas.c.due_at,
)
_LINE = (order_items.c.product_id, order_items.c.quantity, order_items.c.unit_price)
_SEEN = (
    sa.select(orders, *_LINE)
    .outerjoin(order_items, order_items.c.order_id == orders.c.id)
    .where(among(orders.c.id, "ids"))
    .order_by(orders.c.id, order_items.c.id)
)
_LINES_AND_SAGAS = (
    sa.select(orders.c.id, *_SAGA, *_LINE)
    .outerjoin(order_sagas, order_sagas.c.order_id == orders.c.id)
    .outerjoin(order_items, order_items.c.order_id == orders.c.id)
    .where(among(orders.c.id, "ids"))
    .order_by(order_items.c.id)
)
_LINES_OF = (
    # One row an order: in a join, all that is known of an order would come once more with each of its lines.
    sa.select(
        sa.func.json_agg(
            aggregate_order_by(
                sa.func.json_build_array(
                    order_items.c.product_id, order_items.c.quantity, sa.cast(order_items.c.unit_price, sa.Text)
                ),
                order_items.c.id,
            ),
            type_=sa.JSON(),
        )
    )
    .where(order_items.c.order_id == orders.c.id)
    .scalar_subquery()
    .label("lines")
)
_ALL = (
    sa.select(orders, *_SAGA, _LINES_OF)
    .outerjoin(order_sagas, order_sagas.c.order_id == orders.c.id)
    .where(among(orders.c.id, "ids"))
)
_LINES = sa.select(order_items).where(among(order_items.c.order_id, "ids")).order_by(order_items.c.id)
_SAGAS = sa.select(*_SAGA).where(among(order_sagas.c.order_id, "ids"))
_DUE = due(sa.select(order_sagas.c.order_id), order_sagas.c.due_at)
_PRICES = sa.select(products).where(among(products.c.product_id, "ids"))


def lock(connection: sa.Connection, order_ids: Sequence[str]) -> tuple[dict[str, Order], Sagas]:
    """The orders of these ids that exist and their sagas; nobody else moves them until this transaction ends."""
    if not order_ids:
        return {}, {}
    # Two statements: whoever waited for a lock must not see the lines and sagas of the time before it waited.
    locked = connection.execute(_LOCKED, {"ids": list(order_ids)}).all()
    rest = _by_order(connection, _LINES_AND_SAGAS, [row.id for row in locked])
    return {row.id: _order(row, _lines(rest[row.id])) for row in locked}, _sagas(rest)


def read(connection: sa.Connection, order_ids: Sequence[str]) -> tuple[dict[str, Order], Sagas]:
    """What `lock` finds, as of one moment and without a lock: whoever moves an order since makes its next version.

    On PostgreSQL, where alone it is done without locks.
    """
    found = _by_order(connection, _ALL, order_ids)
    orders_found = {
        order_id: _order(row, tuple(Line(product, n, Decimal(price)) for product, n, price in row.lines or ()))
        for order_id, [row] in found.items()
    }
    return orders_found, _sagas(found)


def see(connection: sa.Connection, order_ids: Sequence[str]) -> dict[str, Order]:
    """The orders of these ids that exist, with their lines, as of one moment: it is one statement."""
    found = _by_order(connection, _SEEN, order_ids)
    return {order_id: _order(rows[0], _lines(rows)) for order_id, rows in found.items()}


def insert_orders(connection: sa.Connection, new: Sequence[Order], item_ids: Iterable[str]) -> None:
    """The projections of orders that were just placed."""
    insert(connection, orders, [_row(order) for order in new])
    insert_lines(connection, new, item_ids)


def insert_lines(connection: sa.Connection, of: Sequence[Order], item_ids: Iterable[str]) -> None:
    """The lines of these orders, which have none yet."""
    ids = iter(item_ids)
    rows = [
        {
            "id": next(ids),
            "order_id": order.id,
            "product_id": line.product_id,
            "quantity": line.quantity,
            "unit_price": line.unit_price,
            "total_price": line.total_price,
        }
        for order in of
        for line in order.lines
    ]
    insert(connection, order_items, rows)


def delete_lines(connection: sa.Connection, order_ids: Sequence[str]) -> None:
    """Forget the lines of these orders, to write them anew."""
    connection.execute(sa.delete(order_items).where(one_of(order_items.c.order_id, order_ids)))


def update_orders(connection: sa.Connection, changed: Sequence[Order], before: Mapping[str, int]) -> None:
    """Bring the projections of these orders up to date: those that still have the version that they had `before`."""
    rows = [_row(order) for order in changed]
    given = [{**{name: row[name] for name in ("id", *PROJECTED)}, "before": before[row["id"]]} for row in rows]
    update(connection, orders, given, ["id"], "orders.version = given.before")


def append_facts(connection: sa.Connection, facts: Sequence[tuple[str, str, int, Fact, datetime]]) -> None:
    """Add (id, order id, version, fact, time) to the history; a version that exists already breaks the transaction."""
    insert(
        connection,
        order_events,
        [
            {
                "id": id_,
                "order_id": order_id,
                "version": version,
                "event_type": fact.type.value,
                "event_data": dict(fact.data),
                "created_at": at,
            }
            for id_, order_id, version, fact, at in facts
        ],
    )


def history(
    connection: sa.Connection, order_id: str, *, after: int = 0, limit: int = 1000
) -> list[tuple[int, Fact, datetime]]:
    """(version, fact, time) of an order after that version."""
    query = (
        sa.select(order_events)
        .where(order_events.c.order_id == order_id, order_events.c.version > after)
        .order_by(order_events.c.version)
        .limit(limit)
    )
    return [
        (row.version, Fact(FactType(row.event_type), row.event_data), row.created_at)
        for row in connection.execute(query)
    ]


def known_references(connection: sa.Connection, references: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The ids of orders that these (caller, client reference) pairs already name."""
    if not references:
        return {}
    pair = sa.tuple_(orders.c.placed_by, orders.c.client_reference)
    query = sa.select(orders.c.id, orders.c.placed_by, orders.c.client_reference).where(pair.in_(references))
    return {(row.placed_by, row.client_reference): row.id for row in connection.execute(query)}


def load_sagas(connection: sa.Connection, order_ids: Sequence[str]) -> Sagas:
    """(state, due) of these orders' sagas."""
    found = connection.execute(_SAGAS, {"ids": list(order_ids)})
    return {row.order_id: (_saga(row), row.due_at) for row in found}


def save_sagas(connection: sa.Connection, states: Sagas, now: datetime) -> None:
    """Write these sagas as they stand now."""
    rows = [
        {
            "order_id": order_id,
            "status": state.status.value,
            "steps": [_step(step) for step in state.steps],
            "reason": state.reason,
            "due_at": due_at,
            "updated_at": now,
        }
        for order_id, (state, due_at) in states.items()
    ]
    changes = ("status", "steps", "reason", "due_at", "updated_at")
    insert_updating(connection, order_sagas, rows, ["order_id"], changes)


def claim_due(connection: sa.Connection, now: datetime, *, limit: int) -> list[str]:
    """Orders whose saga is due; locked until this transaction ends, so that replicas share the work."""
    return list(connection.execute(_DUE, {"now": now, "most": limit}).scalars())


def undecided_cancellations(connection: sa.Connection, *, limit: int) -> list[str]:
    """Orders whose cancellation waits for shipping's word."""
    query = sa.select(orders.c.id).where(orders.c.cancel_requested.is_not(None), orders.c.status == "completed")
    return list(connection.execute(query.limit(limit)).scalars())


def of_customer(connection: sa.Connection, customer_id: str, *, limit: int) -> list[Order]:
    """A customer's newest orders."""
    query = sa.select(orders).where(orders.c.customer_id == customer_id).order_by(orders.c.id.desc()).limit(limit)
    return list(_with_lines(connection, connection.execute(query).all()).values())


def listed(connection: sa.Connection, filters: Mapping[str, Any], *, before: str | None, limit: int) -> list[Order]:
    """The newest orders that pass `filters` (status, customer_id, since), older than `before`."""
    query = sa.select(orders).order_by(orders.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(orders.c.id < before)
    if filters.get("status") is not None:
        query = query.where(orders.c.status == filters["status"])
    if filters.get("customer_id") is not None:
        query = query.where(orders.c.customer_id == filters["customer_id"])
    if filters.get("since") is not None:
        query = query.where(orders.c.created_at >= filters["since"])
    return list(_with_lines(connection, connection.execute(query).all()).values())


def prices(connection: sa.Connection, product_ids: Iterable[str]) -> dict[str, tuple[Decimal, str, bool]]:
    """(price, currency, deleted) of the products that are known here."""
    found = connection.execute(_PRICES, {"ids": sorted(product_ids)})
    return {row.product_id: (row.price, row.currency, row.deleted) for row in found}


def price_times(connection: sa.Connection, product_ids: Iterable[str]) -> dict[str, tuple[datetime, bool]]:
    """(time of the last change known here, deleted) of these products, locked."""
    query = sa.select(products).where(one_of(products.c.product_id, sorted(product_ids))).with_for_update()
    return {row.product_id: (row.changed_at, row.deleted) for row in connection.execute(query)}


def save_prices(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write these products' prices as they stand now."""
    if rows:
        changes = ("price", "currency", "deleted", "changed_at")
        insert_updating(connection, products, rows, ["product_id"], changes)


def add_prices(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Write the prices of products that were not known; answers which of them nobody else had written before."""
    return {row.product_id for row in insert_new(connection, products, rows, ["product_id"])}


def _with_lines(connection: sa.Connection, rows: Sequence[Any]) -> dict[str, Order]:
    lines: dict[str, list[Line]] = {row.id: [] for row in rows}
    for row in connection.execute(_LINES, {"ids": list(lines)}) if lines else ():
        lines[row.order_id].append(_line(row))
    return {row.id: _order(row, tuple(lines[row.id])) for row in rows}


def _row(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "customer_id": order.customer_id,
        "status": order.status.value,
        "payment_status": order.payment_status.value,
        "fulfillment_status": order.fulfillment_status.value,
        "total_amount": order.total_amount,
        "currency": order.currency,
        "refunded_amount": order.refunded_amount,
        "reserved": order.reserved,
        "paid": order.paid,
        "payment_failed": order.payment_failed,
        "completed": order.completed,
        "cancel_reason": order.cancel_reason,
        "cancel_detail": order.cancel_detail,
        "cancel_requested": order.cancel_requested,
        "payment_id": order.payment_id,
        "placed_by": order.placed_by,
        "client_reference": order.client_reference,
        "shipping_address": order.shipping_address,
        "contact": order.contact,
        "carrier": order.carrier,
        "tracking_number": order.tracking_number,
        "version": order.version,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }


def _order(row: Any, lines: tuple[Line, ...]) -> Order:
    return Order(
        id=row.id,
        customer_id=row.customer_id,
        currency=row.currency,
        total_amount=row.total_amount,
        lines=lines,
        created_at=row.created_at,
        updated_at=row.updated_at,
        placed_by=row.placed_by,
        client_reference=row.client_reference,
        shipping_address=row.shipping_address,
        contact=row.contact,
        version=row.version,
        reserved=row.reserved,
        paid=row.paid,
        completed=row.completed,
        cancelled=row.status == "cancelled",
        cancel_reason=row.cancel_reason,
        cancel_detail=row.cancel_detail,
        cancel_requested=row.cancel_requested,
        payment_id=row.payment_id,
        payment_failed=row.payment_failed,
        refunded_amount=row.refunded_amount,
        fulfillment_status=FulfillmentStatus(row.fulfillment_status),
        carrier=row.carrier,
        tracking_number=row.tracking_number,
    )


def _by_order(connection: sa.Connection, joined: "sa.Select[Any]", order_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The rows that a join has for each of these orders."""
    rows: dict[str, list[Any]] = {}
    for row in connection.execute(joined, {"ids": list(order_ids)}) if order_ids else ():
        rows.setdefault(row.id, []).append(row)
    return rows


def _sagas(joined: Mapping[str, Sequence[Any]]) -> Sagas:
    return {order_id: (_saga(rows[0]), rows[0].due_at) for order_id, rows in joined.items() if rows[0].order_id}


def _lines(joined: Sequence[Any]) -> tuple[Line, ...]:
    return tuple(_line(row) for row in joined if row.product_id is not None)


def _line(row: Any) -> Line:
    return Line(row.product_id, row.quantity, row.unit_price)


def _step(step: StepState) -> dict[str, Any]:
    return {
        "name": step.name,
        "status": step.status.value,
        "begun": step.begun,
        "undo_attempts": step.undo_attempts,
        "undoing": step.undoing,
        "reason": step.reason,
    }


def _saga(row: Any) -> SagaState:
    steps = tuple(StepState(**{**step, "status": StepStatus(step["status"])}) for step in row.steps)
    return SagaState(SagaStatus(row.saga_status), steps, row.reason)
