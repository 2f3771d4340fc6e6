"""Kept messages: every step that one can make, each in the caller's transaction.

Invariants: a message is acknowledged at the broker only after it was handled or is kept here, so none is ever lost, and
what is kept is the same on every broker and survives it. One that can be read is kept once, however often it is
delivered. What was handled by itself leaves nothing behind; what a person decided stays for the record (`KEEP_FOR`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.columns import storable
from orderwright.kernel.deadletters import lines
from orderwright.kernel.deadletters.lines import Line
from orderwright.kernel.deadletters.states import DISCARDED, FAILED, HANDLED, RETRYING
from orderwright.kernel.rows import insert_new
from orderwright.kernel.tables import TEXT_LENGTH, kept_attempts, kept_messages

KEEP_FOR = timedelta(days=30)
ERROR_LENGTH = 2000
HEADER_LENGTH = 8000


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message as it arrived, with what happened to it since."""

    id: str
    state: str
    topic: str
    key: str
    about: str | None
    """What the key is the id of; None when the message cannot be read, like the two that follow."""
    event_id: str | None
    source: str | None
    holds: bool
    """Later messages of its line wait behind it."""
    position: int | None
    headers: Mapping[str, str]
    body: bytes
    attempts: int
    error: str
    next_attempt_at: datetime
    created_at: datetime
    updated_at: datetime

    @property
    def line(self) -> Line | None:
        """The line that it belongs to, if it can be read."""
        return None if self.about is None else lines.line(self.key, self.about)


def keep(connection: sa.Connection, message: KeptMessage) -> None:
    """Keep a message that failed."""
    one = message.line
    position = lines.join(connection, one) if one is not None and message.holds else None
    if _insert(connection, message, position):
        _add_attempt(connection, message.id, 1, message.error, message.created_at)
    if one is not None and message.holds:
        lines.settle(connection, one, message.created_at)


def park(connection: sa.Connection, messages: Sequence[KeptMessage]) -> None:
    """Put messages at the end of their lines, which the caller has locked."""
    for message in messages:
        assert message.line is not None
        _insert(connection, message, lines.join(connection, message.line))


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
    return sorted((of_row(row) for row in connection.execute(statement)), key=lambda kept: kept.id)


_NEXT_ATTEMPT = sa.select(sa.func.min(kept_messages.c.next_attempt_at)).where(kept_messages.c.state == RETRYING)


def next_attempt(connection: sa.Connection) -> datetime | None:
    """When the first of all attempts is due; None when no message is tried again."""
    due: datetime | None = connection.execute(_NEXT_ATTEMPT).scalar()
    return due


def find(connection: sa.Connection, message_id: str) -> KeptMessage | None:
    """The kept message of that id."""
    row = connection.execute(sa.select(kept_messages).where(kept_messages.c.id == message_id)).one_or_none()
    return None if row is None else of_row(row)


def take(connection: sa.Connection, message_id: str) -> KeptMessage | None:
    """The kept message of that id as it is now, locked together with its line until the end of the transaction."""
    seen = find(connection, message_id)
    if seen is None:
        return None
    if seen.line is not None:
        lines.lock(connection, [seen.line])
    query = sa.select(kept_messages).where(kept_messages.c.id == message_id).with_for_update()
    row = connection.execute(query).one_or_none()
    return None if row is None else of_row(row)


def record_failure(
    connection: sa.Connection, kept: KeptMessage, *, error: str, holds: bool, now: datetime, **changes: Any
) -> None:
    """One more attempt at a message that was taken has failed; `changes` say what follows from that, if anything."""
    one = kept.line
    holds = holds and one is not None and kept.state in FAILED
    position = kept.position
    if holds and one is not None and not kept.holds:
        position = lines.join(connection, one)
    statement = (
        sa.update(kept_messages)
        .where(kept_messages.c.id == kept.id)
        .values(
            attempts=kept_messages.c.attempts + 1,
            error=storable(error, ERROR_LENGTH),
            holds=holds,
            position=position,
            updated_at=now,
            **changes,
        )
        .returning(kept_messages.c.attempts)
    )
    number = connection.execute(statement).scalar_one()
    _add_attempt(connection, kept.id, number, error, now)
    if one is not None:
        lines.settle(connection, one, now)


def resolve(connection: sa.Connection, kept: KeptMessage, now: datetime, *, as_: str | None = None) -> bool:
    """A message that was taken is done with: gone, or kept `as_` a record; answers whether it let another one go."""
    this = kept_messages.c.id == kept.id
    if as_ is None:
        connection.execute(sa.delete(kept_messages).where(this))
    else:
        connection.execute(sa.update(kept_messages).where(this).values(state=as_, holds=False, updated_at=now))
    return kept.line is not None and lines.settle(connection, kept.line, now)


def release(connection: sa.Connection, now: datetime) -> None:
    """Nobody is trying anything: right when this process is the only one that could, at its start."""
    leased = (kept_messages.c.state == RETRYING) & (kept_messages.c.next_attempt_at > now)
    connection.execute(sa.update(kept_messages).where(leased).values(next_attempt_at=now))


def forget(connection: sa.Connection, now: datetime, *, limit: int = 1000) -> int:
    """Remove up to `limit` messages that are only kept for the record, and for long enough; answers how many."""
    kept = kept_messages
    old = sa.select(kept.c.id).where(kept.c.state.in_((HANDLED, DISCARDED)), kept.c.updated_at < now - KEEP_FOR)
    return connection.execute(sa.delete(kept).where(kept.c.id.in_(old.limit(limit)))).rowcount


def of_row(row: Any) -> KeptMessage:
    """The message in a row of the table."""
    return KeptMessage(**row._mapping)


def _insert(connection: sa.Connection, message: KeptMessage, position: int | None) -> bool:
    row = {column.name: getattr(message, column.name) for column in kept_messages.c}
    headers = {storable(name, HEADER_LENGTH): storable(value, HEADER_LENGTH) for name, value in message.headers.items()}
    row |= {"position": position, "headers": headers, "error": storable(message.error, ERROR_LENGTH)}
    for name in ("topic", "key", "event_id", "source"):
        row[name] = None if row[name] is None else storable(row[name], TEXT_LENGTH)
    if (row["event_id"], row["source"]) != (message.event_id, message.source):
        # What is left of such an id may be another one's too, and must not be taken for it.
        row |= {"event_id": None, "source": None}
    return bool(insert_new(connection, kept_messages, [row], ["id"]))


def _add_attempt(connection: sa.Connection, kept_id: str, number: int, error: str, now: datetime) -> None:
    row = {"kept_id": kept_id, "number": number, "at": now, "error": storable(error, ERROR_LENGTH)}
    connection.execute(sa.insert(kept_attempts), row)
