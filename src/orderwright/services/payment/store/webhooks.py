"""What providers told us: each event as it came, once, and what became of it.

Invariant: an event is kept, with its body, before it is answered or acted upon.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import due, insert_new, one_of
from orderwright.services.payment.domain import WebhookStatus
from orderwright.services.payment.tables import webhook_events

OPEN = (WebhookStatus.RECEIVED, WebhookStatus.PARKED)
FOR_STAFF = (WebhookStatus.PARKED, WebhookStatus.STRANDED, WebhookStatus.QUARANTINED)
OVER = (WebhookStatus.DONE, WebhookStatus.IGNORED, WebhookStatus.DISMISSED)


@dataclass(frozen=True, slots=True)
class Webhook:
    """An event that a provider told us."""

    id: str
    provider: str
    event_id: str
    type: str
    charge_key: str | None
    refund_key: str | None
    captured: bool | None
    amount_minor: int | None
    currency: str | None
    status: WebhookStatus
    note: str | None
    settled_by: str | None
    attempts: int
    next_attempt_at: datetime | None
    received_at: datetime
    updated_at: datetime


def insert(connection: sa.Connection, webhook: Webhook, body: bytes) -> bool:
    """Keep an event; answers whether it was not kept before."""
    row = {name: getattr(webhook, name) for name in Webhook.__slots__}
    row |= {"status": webhook.status.value, "body": body}
    return bool(insert_new(connection, webhook_events, [row], ["event_id"]))


def by_id(connection: sa.Connection, webhook_id: str, *, lock: bool = False) -> Webhook | None:
    """That event, if there is one."""
    query = _QUERY.where(webhook_events.c.id == webhook_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _webhook(row)


def claim_due(connection: sa.Connection, now: datetime, *, limit: int, lease: timedelta) -> list[Webhook]:
    """Events that are due, as they were before; nobody else takes them meanwhile."""
    claimed = [_webhook(row) for row in connection.execute(_DUE, {"now": now, "most": limit})]
    if claimed:
        these = one_of(webhook_events.c.id, [webhook.id for webhook in claimed])
        claim = {"attempts": webhook_events.c.attempts + 1, "next_attempt_at": now + lease}
        connection.execute(sa.update(webhook_events).where(these).values(claim))
    return claimed


def release(connection: sa.Connection, now: datetime) -> None:
    """Nobody is at work on any: right when this process is the only one that could be, at its start."""
    received = webhook_events.c.status == WebhookStatus.RECEIVED.value
    connection.execute(sa.update(webhook_events).where(received).values(next_attempt_at=now))


def move(
    connection: sa.Connection,
    webhook_id: str,
    status: WebhookStatus,
    now: datetime,
    *,
    among: Sequence[WebhookStatus] = OPEN,
    again_at: datetime | None = None,
    note: str | None = None,
    by: str | None = None,
) -> None:
    """What became of an event, if it still is in one of the states `among`; somebody may have settled it meanwhile."""
    values = {"status": status.value, "next_attempt_at": again_at, "note": note, "settled_by": by, "updated_at": now}
    mine = webhook_events.c.id == webhook_id
    connection.execute(sa.update(webhook_events).where(mine, _in(among)).values(values))


def waiting(connection: sa.Connection, statuses: Sequence[WebhookStatus], *, limit: int) -> list[Webhook]:
    """Events in one of these states, the oldest first."""
    query = _QUERY.where(_in(statuses)).order_by(webhook_events.c.received_at, webhook_events.c.id)
    return [_webhook(row) for row in connection.execute(query.limit(limit))]


def count_waiting(connection: sa.Connection) -> dict[str, int]:
    """How many events wait for a payment or for a person, by state."""
    query = sa.select(webhook_events.c.status, sa.func.count()).where(_in(FOR_STAFF))
    return {row[0]: row[1] for row in connection.execute(query.group_by(webhook_events.c.status))}


def forget(connection: sa.Connection, before: datetime, *, limit: int = 1000) -> int:
    """Remove up to `limit` events that came before then and need nobody any more."""
    old = sa.select(webhook_events.c.id).where(_in(OVER), webhook_events.c.received_at < before).limit(limit)
    return connection.execute(sa.delete(webhook_events).where(webhook_events.c.id.in_(old))).rowcount


_QUERY = sa.select(*(webhook_events.c[name] for name in Webhook.__slots__))


def _in(statuses: Iterable[WebhookStatus]) -> "sa.ColumnElement[bool]":
    return one_of(webhook_events.c.status, [status.value for status in statuses])


_DUE = due(_QUERY.where(_in(OPEN)), webhook_events.c.next_attempt_at)


def _webhook(row: Any) -> Webhook:
    members = dict(row._mapping)
    return Webhook(**{**members, "status": WebhookStatus(members["status"])})
