"""Messages that could not be handled: kept in the service's own database, tried again with backoff, then dead letters.

Invariant: a message is acknowledged at the broker only after it was handled or is kept here, so none is ever lost, and
what is kept is the same on every broker and survives it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.errors import NotFound
from orderwright.kernel.tables import kept_messages

RETRYING, DEAD = "retrying", "dead"
ERROR_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message as it arrived, with what happened to it since."""

    id: str
    state: str
    topic: str
    key: str
    headers: Mapping[str, str]
    body: bytes
    attempts: int
    error: str
    next_attempt_at: datetime
    created_at: datetime
    updated_at: datetime


def keep(connection: sa.Connection, message: KeptMessage) -> None:
    """Keep a message that failed."""
    connection.execute(
        sa.insert(kept_messages).values(
            id=message.id,
            state=message.state,
            topic=message.topic[:200],
            key=message.key[:200],
            headers=dict(message.headers),
            body=message.body,
            attempts=message.attempts,
            error=message.error[:ERROR_LENGTH],
            next_attempt_at=message.next_attempt_at,
            created_at=message.created_at,
            updated_at=message.updated_at,
        )
    )


def claim_due(connection: sa.Connection, now: datetime, *, limit: int, lease: timedelta) -> list[KeptMessage]:
    """Take messages whose next attempt is due, oldest first; they are not due again until the lease is over."""
    due = (
        sa.select(kept_messages.c.id)
        .where(kept_messages.c.state == RETRYING, kept_messages.c.next_attempt_at <= now)
        .order_by(kept_messages.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        sa.update(kept_messages)
        .where(kept_messages.c.id.in_(due))
        .values(next_attempt_at=now + lease)
        .returning(*kept_messages.c)
    )
    return sorted((_kept(row) for row in connection.execute(statement)), key=lambda kept: kept.created_at)


def record_failure(
    connection: sa.Connection, message_id: str, *, error: str, now: datetime, delay_s: float | None
) -> None:
    """One more attempt failed: due again after `delay_s`, or a dead letter when that is None."""
    connection.execute(
        sa.update(kept_messages)
        .where(kept_messages.c.id == message_id)
        .values(
            state=DEAD if delay_s is None else RETRYING,
            attempts=kept_messages.c.attempts + 1,
            error=error[:ERROR_LENGTH],
            next_attempt_at=now + timedelta(seconds=delay_s or 0),
            updated_at=now,
        )
    )


def release(connection: sa.Connection, now: datetime) -> None:
    """Nobody is trying anything: right when this process is the only one that could, at its start."""
    leased = (kept_messages.c.state == RETRYING) & (kept_messages.c.next_attempt_at > now)
    connection.execute(sa.update(kept_messages).where(leased).values(next_attempt_at=now))


def remove(connection: sa.Connection, message_id: str) -> None:
    """The message was handled; called in the transaction that handled it."""
    connection.execute(sa.delete(kept_messages).where(kept_messages.c.id == message_id))


def listed(connection: sa.Connection, *, state: str = DEAD, limit: int = 100) -> list[KeptMessage]:
    """The newest kept messages in that state."""
    statement = (
        sa.select(kept_messages)
        .where(kept_messages.c.state == state)
        .order_by(kept_messages.c.created_at.desc(), kept_messages.c.id.desc())
        .limit(limit)
    )
    return [_kept(row) for row in connection.execute(statement)]


def shown(connection: sa.Connection, message_id: str) -> KeptMessage:
    """One kept message. NotFound when there is none of that id."""
    row = connection.execute(sa.select(kept_messages).where(kept_messages.c.id == message_id)).one_or_none()
    if row is None:
        raise NotFound(f"No message {message_id} is kept here")
    return _kept(row)


def replay(connection: sa.Connection, message_ids: Sequence[str], now: datetime) -> list[str]:
    """Make dead letters due at once, with their attempts counted anew; answers which of them were dead.

    Replaying twice handles the message once: the inbox drops what was handled.
    """
    statement = (
        sa.update(kept_messages)
        .where(kept_messages.c.id.in_(message_ids), kept_messages.c.state == DEAD)
        .values(state=RETRYING, attempts=0, next_attempt_at=now, updated_at=now)
        .returning(kept_messages.c.id)
    )
    return list(connection.execute(statement).scalars())


def counts(connection: sa.Connection) -> dict[str, int]:
    """How many messages are kept, by state."""
    statement = sa.select(kept_messages.c.state, sa.func.count().label("messages")).group_by(kept_messages.c.state)
    return {row.state: row.messages for row in connection.execute(statement)}


def _kept(row: Any) -> KeptMessage:
    return KeptMessage(
        id=row.id,
        state=row.state,
        topic=row.topic,
        key=row.key,
        headers=row.headers,
        body=row.body,
        attempts=row.attempts,
        error=row.error,
        next_attempt_at=row.next_attempt_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
