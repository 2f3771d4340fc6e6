"""Gets dossiers from the databases: one snapshot a service for a page of orders, whatever the page is made of.

Invariant: a page costs a fixed number of statements, each through an index, and memory for its own rows only.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from orderwright.audit.books import Books
from orderwright.audit.orders.dossier import Dossier
from orderwright.kernel.rows import among
from orderwright.services.cart.tables import carts
from orderwright.services.inventory.tables import reservation_lines, reservations
from orderwright.services.notification.tables import notifications
from orderwright.services.notification.tables import orders as noted_orders
from orderwright.services.order.tables import order_events, order_items, order_sagas, orders
from orderwright.services.payment.tables import payments, refunds
from orderwright.services.shipping.tables import orders as shipping_orders
from orderwright.services.shipping.tables import shipments

Put = Callable[[Dossier, Any], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of one service that belong to orders, and their place in a dossier. The first column is the order's id."""

    service: str
    of: sa.Select[Any]
    """Those of the orders `ids`; made once, because making a statement costs more than executing it."""
    put: Put


def _source(service: str, select: sa.Select[Any], put: Put) -> Source:
    key: sa.ColumnElement[Any] = select.selected_columns[0]
    return Source(service, select.where(among(key, "ids")), put)


def _one(member: str) -> Put:
    return lambda dossier, row: setattr(dossier, member, row)


def _many(member: str) -> Put:
    return lambda dossier, row: getattr(dossier, member).append(row)


_o, _p, _r, _s, _n = orders.c, payments.c, reservations.c, shipments.c, notifications.c

SOURCES: Final[tuple[Source, ...]] = (
    _source("order", sa.select(orders), _one("order")),
    _source(
        "order",
        sa.select(
            order_items.c.order_id, order_items.c.product_id, order_items.c.quantity, order_items.c.unit_price
        ).order_by(order_items.c.order_id, order_items.c.id),
        _many("items"),
    ),
    _source("order", sa.select(order_sagas), _one("saga")),
    _source(
        "payment",
        sa.select(
            *(_p.order_id, _p.id, _p.status, _p.amount_minor, _p.currency, _p.stock_reserved, _p.order_cancelled),
            *(_p.held_by, _p.captured_minor, _p.promised_minor, _p.refunded_minor, _p.updated_at),
        ),
        _one("payment"),
    ),
    _source(
        "payment",
        sa.select(
            _p.order_id,
            refunds.c.id,
            refunds.c.amount_minor,
            refunds.c.status,
            refunds.c.created_at,
            refunds.c.updated_at,
        ).join(payments, payments.c.id == refunds.c.payment_id),
        _many("refunds"),
    ),
    _source("inventory", sa.select(_r.order_id, _r.id, _r.kind, _r.status, _r.updated_at), _one("reservation")),
    _source(
        "inventory",
        sa.select(
            *(_r.order_id, reservation_lines.c.product_id, reservation_lines.c.warehouse_id),
            reservation_lines.c.quantity,
        ).join(reservations, reservations.c.id == reservation_lines.c.reservation_id),
        _many("lines"),
    ),
    _source("shipping", sa.select(_s.order_id, _s.id, _s.status, _s.updated_at), _one("shipment")),
    _source(
        "shipping",
        sa.select(shipping_orders.c.order_id).where(shipping_orders.c.has_goods.is_not(None)),
        _one("shipping_knows"),
    ),
    _source("notification", sa.select(_n.order_id, _n.type, _n.created_at), _many("told")),
    _source("notification", sa.select(noted_orders.c.order_id), _one("notification_knows")),
    _source("cart", sa.select(carts.c.id, carts.c.updated_at).where(carts.c.open_for.is_(None)), _one("cart")),
)
"""Where dossiers come from. Columns that move without meaning, like attempts and leases, are left out."""

HISTORY: Final = _source(
    "order",
    sa.select(
        *(order_events.c.order_id, order_events.c.version, order_events.c.event_type),
        *(order_events.c.event_data, order_events.c.created_at),
    ).order_by(order_events.c.order_id, order_events.c.version),
    _many("history"),
)


async def dossiers(books: Books, order_ids: Sequence[str], *, with_history: Collection[str]) -> list[Dossier]:
    """What every service knows of these orders now."""
    found = {order_id: Dossier(order_id) for order_id in order_ids}
    for order_id in with_history:
        found[order_id].history = []
    by_service: dict[str, list[tuple[Source, Sequence[str]]]] = {}
    for source in SOURCES:
        by_service.setdefault(source.service, []).append((source, order_ids))
    if with_history:
        by_service[HISTORY.service].append((HISTORY, list(with_history)))
    await asyncio.gather(*(_gather(books, service, wanted, found) for service, wanted in by_service.items()))
    return list(found.values())


async def _gather(
    books: Books, service: str, wanted: Sequence[tuple[Source, Sequence[str]]], found: dict[str, Dossier]
) -> None:
    def read(connection: sa.Connection) -> list[Sequence[Any]]:
        return [connection.execute(source.of, {"ids": list(ids)}).all() for source, ids in wanted]

    for (source, _), rows in zip(wanted, await books.read(service, read), strict=True):
        for row in rows:
            # PostgreSQL knows a UUID however it is written; then it is another id's row.
            if row[0] in found:
                source.put(found[row[0]], row)
