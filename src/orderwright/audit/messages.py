"""Messages: what waits in an outbox, what was given up, what is on its way, and how late everybody hears.

An outbox row is deleted once the broker has it. So a row that stays says that nothing is sent, and what was sent and
never heard shows in the orders (see `orders/telling`).
"""

import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from orderwright.audit.books import AUDITED, Books
from orderwright.audit.checks import Moment, Settling, Suspect
from orderwright.audit.findings import Finding
from orderwright.audit.paging import pages_by_key
from orderwright.kernel.deadletters.states import DEAD, PARKED, RETRYING
from orderwright.kernel.tables import inbox, kept_messages, outbox

RECENTLY: Final = timedelta(seconds=60)
NEWEST: Final = 200


class MessageCheck:
    """Finds what was not sent in time, and what was given up."""

    name = "messages"
    settling = Settling.SOON

    def __init__(self, books: Books, *, page: int) -> None:
        self._books = books
        self._page = page

    async def pages(self, moment: Moment) -> AsyncIterator[Sequence[str]]:
        old = sa.select(outbox.c.id).where(outbox.c.created_at < moment.settled_before)
        dead = sa.select(kept_messages.c.id).where(kept_messages.c.state == DEAD)
        for service in AUDITED:
            for name, key, query in (("outbox", outbox.c.id, old), ("kept", kept_messages.c.id, dead)):
                async for page in pages_by_key(self._books, service, key, query, self._page):
                    yield [f"{service} {name} {row[0]}" for row in page]

    async def look(self, ids: Sequence[str], moment: Moment) -> list[Suspect]:  # noqa: ARG002 - a check is asked so
        wanted: dict[str, list[str]] = {}
        for id_ in ids:
            service, name, message_id = id_.split(" ", 2)
            wanted.setdefault(f"{service} {name}", []).append(message_id)
        suspects: list[Suspect] = []
        for place, message_ids in wanted.items():
            service, name = place.split(" ")
            suspects += await (self._unsent if name == "outbox" else self._dead)(service, message_ids)
        return suspects

    async def _unsent(self, service: str, ids: Sequence[str]) -> list[Suspect]:
        o = outbox.c
        query = sa.select(o.id, o.type, o.aggregateid, o.created_at).where(o.id.in_(ids))
        rows = await self._books.read(service, lambda connection: connection.execute(query).all())
        return [
            Suspect(
                f"{service} outbox {row.id}",
                "",
                (
                    Finding(
                        "event_unsent",
                        f"event {row.id} of {service}",
                        _about(row.type, row.aggregateid, row.created_at),
                    ),
                ),
            )
            for row in rows
        ]

    async def _dead(self, service: str, ids: Sequence[str]) -> list[Suspect]:
        k = kept_messages.c
        query = sa.select(k.id, k.topic, k.key, k.created_at).where(k.id.in_(ids), k.state == DEAD)
        rows = await self._books.read(service, lambda connection: connection.execute(query).all())
        return [
            Suspect(
                f"{service} kept {row.id}",
                "",
                (Finding("dead_letter", f"message {row.id} of {service}", _about(row.topic, row.key, row.created_at)),),
            )
            for row in rows
        ]


async def keys_under_way(books: Books, keys: Collection[str]) -> set[str]:
    """Those of `keys` for which a message waits in an outbox, or is still being tried: they will move."""
    waiting = sa.select(outbox.c.aggregateid).where(outbox.c.aggregateid.in_(sorted(keys)))
    trying = sa.select(kept_messages.c.key).where(
        kept_messages.c.key.in_(sorted(keys)), kept_messages.c.state.in_((RETRYING, PARKED))
    )

    def read(connection: sa.Connection) -> set[str]:
        return {*connection.execute(waiting).scalars(), *connection.execute(trying).scalars()}

    moving: set[str] = set()
    for service in AUDITED:
        moving |= await books.read(service, read)
    return moving


async def lag(books: Books, now: datetime) -> tuple[str, timedelta]:
    """The service that hears latest at this moment, and how much later than it was said.

    Our event ids are UUIDs of version 7, which carry the time when they were made; others tell nothing of it.
    """
    recent = (
        sa.select(inbox.c.message_id, inbox.c.received_at)
        .where(inbox.c.received_at > now - RECENTLY)
        .order_by(inbox.c.received_at.desc())
        .limit(NEWEST)
    )
    slowest, most = "", timedelta(0)
    for service in AUDITED:
        for row in await books.read(service, lambda connection: connection.execute(recent).all()):
            said_at = _made_at(row.message_id)
            if said_at is not None and row.received_at - said_at > most:
                slowest, most = service, row.received_at - said_at
    return slowest, most


def _made_at(message_id: str) -> datetime | None:
    try:
        id_ = uuid.UUID(message_id)
    except ValueError:
        return None
    if id_.version != 7:
        return None
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)


def _about(name: str, key: str, since: datetime) -> str:
    return f"{name} of {key}, since {since}"
