"""What people see of kept messages: lists that can be narrowed and paged, and one message with its whole history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from orderwright.kernel import context
from orderwright.kernel.deadletters import audit
from orderwright.kernel.deadletters.audit import Act
from orderwright.kernel.deadletters.kept import KeptMessage, find, of_row
from orderwright.kernel.deadletters.states import FAILED, OPEN, PARKED
from orderwright.kernel.errors import NotFound
from orderwright.kernel.tables import kept_attempts, kept_messages

ORDER_ID = "order_id"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages; what is None is not asked about."""

    states: Sequence[str] = OPEN
    topic: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """A kept message and all that happened to it."""

    kept: KeptMessage
    attempts: Sequence[tuple[int, datetime, str]]
    """Number, time and error of each attempt that failed, the first first."""
    acts: Sequence[Act]
    waits_behind: str | None
    """The message that has to be settled first, when this one is parked."""
    waiting: int
    """How many messages are parked in its line."""


def listed(
    connection: sa.Connection, selection: Selection, *, before: str | None = None, limit: int
) -> list[KeptMessage]:
    """The newest messages of a selection, older than the one with the id `before`."""
    query = sa.select(kept_messages).where(*_conditions(selection))
    if before is not None:
        query = query.where(kept_messages.c.id < before)
    return [of_row(row) for row in connection.execute(query.order_by(kept_messages.c.id.desc()).limit(limit))]


def ids_of(connection: sa.Connection, selection: Selection, *, after: str | None = None, limit: int) -> list[str]:
    """Ids of a selection's messages, the oldest first, younger than `after`: the order in which to handle them."""
    query = sa.select(kept_messages.c.id).where(*_conditions(selection))
    if after is not None:
        query = query.where(kept_messages.c.id > after)
    return list(connection.execute(query.order_by(kept_messages.c.id).limit(limit)).scalars())


def shown(connection: sa.Connection, message_id: str) -> History:
    """One message with its history. NotFound when there is none of that id."""
    kept = find(connection, message_id)
    if kept is None:
        raise NotFound(f"No message {message_id} is kept here")
    query = sa.select(kept_attempts).where(kept_attempts.c.kept_id == message_id).order_by(kept_attempts.c.number)
    attempts = [(row.number, row.at, row.error) for row in connection.execute(query)]
    behind = first_before(connection, kept) if kept.state == PARKED else None
    return History(kept, attempts, audit.acts_on(connection, message_id), behind, _waiting(connection, kept))


def first_before(connection: sa.Connection, kept: KeptMessage) -> str | None:
    """Whom a parked message waits for: whoever holds its line up."""
    columns = kept_messages.c
    here = (columns.key == kept.key) & (columns.about == kept.about)
    query = sa.select(columns.id).where(here, columns.state.in_(FAILED), columns.holds)
    return connection.execute(query.order_by(columns.position).limit(1)).scalar_one_or_none()


def counts(connection: sa.Connection) -> dict[str, int]:
    """How many messages are still to be handled, by state."""
    columns = kept_messages.c
    query = sa.select(columns.state, sa.func.count().label("messages")).where(columns.state.in_(OPEN))
    rows = connection.execute(query.group_by(columns.state))
    return dict.fromkeys(OPEN, 0) | {row.state: row.messages for row in rows}


def event_name(kept: KeptMessage) -> str | None:
    """What the message says that it is."""
    return kept.headers.get("ce_type")


def trace_id(kept: KeptMessage) -> str | None:
    """The trace that the message belongs to, if it carries a sound one."""
    parent = kept.headers.get("traceparent")
    return context.trace_id(parent) if parent and context.is_traceparent(parent) else None


def order_id(kept: KeptMessage) -> str | None:
    """The order that the message is about, as far as it says so."""
    if kept.about == ORDER_ID:
        return kept.key
    try:
        body: Any = msgspec.json.decode(kept.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = body.get("orderId") if isinstance(body, Mapping) else None
    return found if isinstance(found, str) else None


def _waiting(connection: sa.Connection, kept: KeptMessage) -> int:
    columns = kept_messages.c
    here = (columns.key == kept.key) & (columns.about == kept.about)
    query = sa.select(sa.func.count()).select_from(kept_messages).where(here, columns.state == PARKED)
    return int(connection.execute(query).scalar_one())


def _conditions(selection: Selection) -> list[sa.ColumnElement[bool]]:
    columns = kept_messages.c
    conditions: list[sa.ColumnElement[bool]] = [columns.state.in_(selection.states)]
    if selection.topic is not None:
        conditions.append(columns.topic == selection.topic)
    if selection.key is not None:
        conditions.append(columns.key == selection.key)
    return conditions
