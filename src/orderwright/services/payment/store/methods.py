"""How orders are to be paid: tokens of the provider, kept until whatever they were for has ended."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from orderwright.kernel.rows import among, insert_updating
from orderwright.services.payment.domain import Method
from orderwright.services.payment.tables import payment_methods

_BY_ORDERS = sa.select(payment_methods).where(among(payment_methods.c.order_id, "ids"))


def save(connection: sa.Connection, methods: Sequence[Method], now: datetime) -> None:
    """How these orders are to be paid; the last word counts."""
    named = {method.order_id: {**asdict(method), "created_at": now} for method in methods}
    changes = ("customer_id", "token", "brand", "last4", "created_at")
    insert_updating(connection, payment_methods, [named[order_id] for order_id in sorted(named)], ["order_id"], changes)


def by_order(connection: sa.Connection, order_ids: Iterable[str]) -> dict[str, Method]:
    """How these orders are to be paid, where that was said."""
    return {
        row.order_id: Method(row.order_id, row.customer_id, row.token, row.brand, row.last4)
        for row in connection.execute(_BY_ORDERS, {"ids": sorted(set(order_ids))})
    }


def forget(connection: sa.Connection, before: datetime, *, limit: int = 1000) -> int:
    """Remove up to `limit` methods that were named before then; whatever order they were for has ended."""
    old = sa.select(payment_methods.c.order_id).where(payment_methods.c.created_at < before).limit(limit)
    return connection.execute(sa.delete(payment_methods).where(payment_methods.c.order_id.in_(old))).rowcount
