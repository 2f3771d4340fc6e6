"""The outbox: what a service said, written in the transaction that made it true.

Invariants: an event's id is made once and stored with it. Rows are claimed by lease and deleted when the broker has
them; they are never read "after the last id", because ids become visible out of commit order.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orderwright.kernel import rows
from orderwright.kernel.messages import Message
from orderwright.kernel.rows import among
from orderwright.kernel.tables import outbox

LEASE_S = 15
"""How long the process that committed a row, or claimed it, may take to send it before another one does."""

_ANY_FREE = sa.select(outbox.c.id).where(outbox.c.lease_until <= sa.bindparam("now")).limit(1)
_CLAIM = (
    sa.update(outbox)
    .where(
        outbox.c.id.in_(
            sa.select(outbox.c.id)
            .where(outbox.c.lease_until <= sa.bindparam("now"))
            .order_by(outbox.c.id)
            .limit(sa.bindparam("most", type_=sa.Integer))
            .with_for_update(skip_locked=True)
        )
    )
    .values(lease_until=sa.bindparam("until"))
    .returning(*outbox.c)
)
_RELEASE = sa.update(outbox).where(among(outbox.c.id, "ids")).values(lease_until=sa.bindparam("now"))
_DELETE = sa.delete(outbox).where(among(outbox.c.id, "ids"))


def append(connection: sa.Connection, messages: Sequence[Message], *, leased: bool = True) -> None:
    """Keep `messages` with the work of this transaction, leased to this process or free for anybody."""
    lease = timedelta(seconds=LEASE_S if leased else 0)
    rows.insert(connection, outbox, [_row(message, lease) for message in messages])


def any_free(connection: sa.Connection, now: datetime) -> bool:
    """Whether a row waits that nobody is sending."""
    return connection.execute(_ANY_FREE, {"now": now}).first() is not None


def claim(connection: sa.Connection, now: datetime, *, limit: int) -> list[Message]:
    """Take the oldest rows that nobody is sending and lease them to this process."""
    claimed = connection.execute(_CLAIM, {"now": now, "most": limit, "until": now + timedelta(seconds=LEASE_S)})
    return sorted((_message(row) for row in claimed), key=lambda message: message.id)


def release_all(connection: sa.Connection, now: datetime) -> None:
    """End every lease: right when this process is the only one that could hold them, at its start."""
    connection.execute(sa.update(outbox).values(lease_until=now))


def release(connection: sa.Connection, now: datetime, ids: Sequence[str]) -> None:
    """End the leases of these rows, which this process held and could not send."""
    if ids:
        connection.execute(_RELEASE, {"ids": list(ids), "now": now})


def delete(connection: sa.Connection, ids: Sequence[str]) -> None:
    """Forget rows that the broker has."""
    if ids:
        rows.later(connection, outbox, _DELETE, {"ids": list(ids)})


def waiting(connection: sa.Connection) -> tuple[int, datetime | None]:
    """How many rows wait, and since when the oldest does."""
    count, oldest = connection.execute(sa.select(sa.func.count(), sa.func.min(outbox.c.created_at))).one()
    return count, oldest


def _row(message: Message, lease: timedelta) -> dict[str, Any]:
    return {
        "id": message.id,
        "aggregatetype": message.topic,
        "aggregateid": message.key,
        "type": message.name,
        "payload": message.body,
        "version": message.version,
        "source": message.source,
        "traceparent": message.traceparent,
        "created_at": message.time,
        "lease_until": message.time + lease,
    }


def _message(row: Any) -> Message:
    return Message(
        id=row.id,
        name=row.type,
        topic=row.aggregatetype,
        key=row.aggregateid,
        source=row.source,
        time=row.created_at,
        body=row.payload,
        version=row.version,
        traceparent=row.traceparent,
    )
