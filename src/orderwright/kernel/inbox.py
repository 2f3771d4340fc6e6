"""The inbox: which messages a service has already handled.

Invariants: the row is written in the handler's own transaction, so a message is handled once or not at all; it outlives
every possible replay (`KEEP_FOR`), because a message that comes after its row was removed would be taken for a new one.
A message is known by its id together with its source (CloudEvents 1.0, section "id").
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from orderwright.kernel import rows
from orderwright.kernel.databases.optimistic import OptimisticConnection
from orderwright.kernel.messages import Message
from orderwright.kernel.tables import inbox

KEEP_FOR = timedelta(days=30)


def accept(connection: sa.Connection, messages: Sequence[Message], now: datetime, unless: str = "") -> list[Message]:
    """Those of `messages` that were not handled before, in their order; they count as handled from now on.

    None of them while the query `unless` finds anything.
    """
    once = each_once(messages)
    new = rows.insert_new(connection, inbox, _rows(once, now), ("message_id", "source"), unless)
    fresh = {(row.message_id, row.source) for row in new}
    return [message for message in once if (message.id, message.source) in fresh]


def each_once(messages: Sequence[Message]) -> list[Message]:
    """`messages`, each of them once; an optimistic transaction takes them for new until `keep` says otherwise."""
    first: dict[tuple[str, str], Message] = {}
    for message in messages:
        first.setdefault((message.id, message.source), message)
    return list(first.values())


def keep(connection: OptimisticConnection, messages: Sequence[Message], now: datetime, unless: str) -> None:
    """These count as handled; NeedsLocks at the end when one was before, or the query `unless` finds anything."""
    rows.insert_exactly(connection, inbox, _rows(messages, now), unless)


def known(connection: sa.Connection, messages: Sequence[Message]) -> set[tuple[str, str]]:
    """Id and source of those of `messages` that were handled before."""
    wanted = [message.id for message in messages]
    query = sa.select(inbox.c.message_id, inbox.c.source).where(inbox.c.message_id.in_(wanted))
    return {(row.message_id, row.source) for row in connection.execute(query)}


def note(connection: sa.Connection, message_id: str, source: str, now: datetime) -> bool:
    """This message counts as handled from now on, because somebody decided that it never will be.

    False when it was handled before, so that there was nothing to decide any more.
    """
    row = {"message_id": message_id, "source": source, "received_at": now}
    return bool(rows.insert_new(connection, inbox, [row], ["message_id"]))


def withdraw(connection: sa.Connection, message_id: str, source: str) -> None:
    """This message counts as new again, because somebody changed that decision."""
    connection.execute(sa.delete(inbox).where(inbox.c.message_id == message_id, inbox.c.source == source))


def forget(connection: sa.Connection, now: datetime, *, limit: int = 1000) -> int:
    """Remove up to `limit` rows that are older than any replay; answers how many."""
    old = sa.select(inbox.c.message_id, inbox.c.source).where(inbox.c.received_at < now - KEEP_FOR).limit(limit)
    removed = connection.execute(sa.delete(inbox).where(sa.tuple_(inbox.c.message_id, inbox.c.source).in_(old)))
    return removed.rowcount


def _rows(messages: Sequence[Message], now: datetime) -> list[dict[str, object]]:
    return [{"message_id": message.id, "source": message.source, "received_at": now} for message in messages]
