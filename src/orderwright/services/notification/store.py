"""The notification service's SQL."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import among, due, insert_ignoring, insert_updating, later, update
from orderwright.services.notification.domain import Channel, Notification, NotificationStatus, Template
from orderwright.services.notification.tables import notifications, orders, templates

_KNOWN_ORDERS = sa.select(orders).where(among(orders.c.order_id, "ids"))
_DUE = due(
    sa.select(notifications).where(notifications.c.status == NotificationStatus.QUEUED.value),
    notifications.c.next_attempt_at,
)
_CLAIM = sa.update(notifications).where(among(notifications.c.id, "ids")).values(next_attempt_at=sa.bindparam("until"))
_RELEASE_KEPT = (
    sa.update(notifications)
    .where(
        notifications.c.status == NotificationStatus.QUEUED.value,
        notifications.c.next_attempt_at.is_(None),
        among(notifications.c.channel, "channels"),
    )
    .values(next_attempt_at=sa.bindparam("now"))
)
_TEMPLATES = sa.select(templates)


def note_orders(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remember whose these orders are and what is in them."""
    insert_ignoring(connection, orders, rows)


def known_orders(connection: sa.Connection, order_ids: Iterable[str]) -> dict[str, Any]:
    """What is known of these orders."""
    found = connection.execute(_KNOWN_ORDERS, {"ids": sorted(set(order_ids))})
    return {row.order_id: row for row in found}


def insert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Queue notifications, each of them once."""
    insert_ignoring(connection, notifications, rows)


def claim_due(connection: sa.Connection, now: datetime, *, limit: int, lease: timedelta) -> list[Notification]:
    """Queued notifications whose turn it is; nobody else takes them meanwhile."""
    claimed = [_notification(row) for row in connection.execute(_DUE, {"now": now, "most": limit})]
    if claimed:
        later(connection, notifications, _CLAIM, {"ids": [one.id for one in claimed], "until": now + lease})
    return claimed


def record(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """What became of notifications that were claimed."""
    update(connection, notifications, rows, ["id"])


def release(connection: sa.Connection, now: datetime) -> None:
    """Nobody is sending anything: right when this process is the only one that could, at its start."""
    leased = notifications.c.next_attempt_at.is_not(None)
    queued = notifications.c.status == NotificationStatus.QUEUED.value
    connection.execute(sa.update(notifications).where(queued, leased).values(next_attempt_at=now))


def release_kept(connection: sa.Connection, channels: Sequence[str], now: datetime) -> int:
    """There is a way to send now: what was kept for want of one is due; answers how many."""
    return connection.execute(_RELEASE_KEPT, {"channels": list(channels), "now": now}).rowcount


def by_id(connection: sa.Connection, notification_id: str) -> Notification | None:
    """The notification of that id."""
    row = connection.execute(sa.select(notifications).where(notifications.c.id == notification_id)).one_or_none()
    return None if row is None else _notification(row)


def owned(connection: sa.Connection, notification_id: str) -> tuple[Notification, str | None] | None:
    """(notification, whose it is, also before its recipient was found out)."""
    query = (
        sa.select(notifications, orders.c.customer_id.label("owner"))
        .join(orders, orders.c.order_id == notifications.c.order_id, isouter=True)
        .where(notifications.c.id == notification_id)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (_notification(row), row.customer_id or row.owner)


def listed(connection: sa.Connection, *, order_id: str | None, limit: int) -> list[tuple[Notification, str | None]]:
    """(notification, whose order it is about), the oldest first for an order, else the newest first."""
    query = (
        sa.select(notifications, orders.c.customer_id.label("owner"))
        .join(orders, orders.c.order_id == notifications.c.order_id, isouter=True)
        .limit(limit)
    )
    if order_id is not None:
        query = query.where(notifications.c.order_id == order_id).order_by(notifications.c.id)
    else:
        query = query.order_by(notifications.c.id.desc())
    return [(_notification(row), row.customer_id or row.owner) for row in connection.execute(query)]


def custom_templates(connection: sa.Connection) -> dict[str, Template]:
    """Templates that staff wrote, by name."""
    rows = connection.execute(_TEMPLATES)
    return {row.name: Template(row.name, row.subject, row.body) for row in rows}


def save_template(connection: sa.Connection, template: Template, by: str, now: datetime) -> None:
    """Use these words from now on."""
    row = {
        "name": template.name,
        "subject": template.subject,
        "body": template.body,
        "updated_by": by,
        "updated_at": now,
    }
    changes = ("subject", "body", "updated_by", "updated_at")
    insert_updating(connection, templates, [row], ["name"], changes)


def _notification(row: Any) -> Notification:
    return Notification(
        id=row.id,
        type=row.type,
        channel=Channel(row.channel),
        recipient=row.recipient,
        customer_id=row.customer_id,
        order_id=row.order_id,
        subject=row.subject,
        body=row.body,
        context=row.context,
        status=NotificationStatus(row.status),
        attempts=row.attempts,
        error=row.error,
        created_at=row.created_at,
        sent_at=row.sent_at,
    )
