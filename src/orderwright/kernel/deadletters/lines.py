"""Lines: while a message of a key is kept, later messages about the same thing wait behind it, in their order.

A line is everything that a service hears about one thing: its events' keys mean the same (`about`) and are the same. So
people who repair the first message find the story as it was, not half of it told. A message that is itself too early
(TryLater) holds nobody up, because what it waits for may be among them; nor does one that cannot be read.

Invariants: a line has a row exactly as long as a message holds it up or waits in it. Whoever changes who is in a line
has locked its row, so nobody joins a line that is just being given up, and a line always has somebody to go next.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from orderwright.kernel.columns import storable
from orderwright.kernel.deadletters.states import FAILED, PARKED, RETRYING
from orderwright.kernel.rows import insert_ignoring
from orderwright.kernel.tables import TEXT_LENGTH, kept_lines, kept_messages

ANY_HELD: Final = "SELECT 1 FROM kept_lines"
"""Finds something while any line is held up: one look at a table that is nearly always empty."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that messages are about."""

    key: str
    about: str


def line(key: str, about: str) -> Line:
    """The line of a key; keys odder than any of ours are told apart by what is kept of them."""
    return Line(storable(key, TEXT_LENGTH), about)


def lock(connection: sa.Connection, wanted: Iterable[Line]) -> set[Line]:
    """Those of the lines that are held up, locked until the end of the transaction; always in the same order."""
    lines = kept_lines
    query = sa.select(lines.c.key, lines.c.about).where(lines.c.key.in_(sorted({one.key for one in wanted})))
    rows = connection.execute(query.order_by(lines.c.key, lines.c.about).with_for_update())
    return {Line(row.key, row.about) for row in rows} & set(wanted)


def join(connection: sa.Connection, one: Line) -> int:
    """The next place in a line, which is made and locked by this."""
    lines = kept_lines
    moved_up = (
        sa.update(lines)
        .where(lines.c.key == one.key, lines.c.about == one.about)
        .values(last_position=lines.c.last_position + 1)
        .returning(lines.c.last_position)
    )
    while True:
        row = {"key": one.key, "about": one.about, "last_position": 0}
        insert_ignoring(connection, lines, [row])
        # None: the row that kept ours out was just being given up; now it is gone and ours can be made.
        position: int | None = connection.execute(moved_up).scalar_one_or_none()
        if position is not None:
            return position


def settle(connection: sa.Connection, one: Line, now: datetime) -> bool:
    """Let the next one go when nobody holds the line up any more; answers whether one was let go.

    Right after any change in the line, while it is locked.
    """
    kept = kept_messages
    here = (kept.c.key == one.key) & (kept.c.about == one.about)
    holder = sa.select(kept.c.id).where(here, kept.c.state.in_(FAILED), kept.c.holds).limit(1)
    if connection.execute(holder).first() is not None:
        return False
    following = sa.select(kept.c.id).where(here, kept.c.state == PARKED).order_by(kept.c.position).limit(1)
    released = (
        sa.update(kept)
        .where(kept.c.id == following.scalar_subquery())
        .values(state=RETRYING, next_attempt_at=now, updated_at=now)
    )
    if connection.execute(released).rowcount:
        return True
    connection.execute(sa.delete(kept_lines).where(kept_lines.c.key == one.key, kept_lines.c.about == one.about))
    return False
