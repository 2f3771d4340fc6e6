"""What waits for an outcome for too long, of charges and of refunds: told once, and counted."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import one_of


def take_overdue(
    connection: sa.Connection, table: sa.Table, late: "sa.ColumnElement[bool]", now: datetime, *, limit: int
) -> list["sa.Row[Any]"]:
    """Up to `limit` rows for which `late` holds and of which nobody was told yet; they count as told from now on."""
    query = sa.select(table).where(late, table.c.alarmed_at.is_(None)).limit(limit).with_for_update(skip_locked=True)
    overdue = list(connection.execute(query))
    if overdue:
        these = one_of(table.c.id, [row.id for row in overdue])
        connection.execute(sa.update(table).where(these).values(alarmed_at=now))
    return overdue


def count_by_state(
    connection: sa.Connection, table: sa.Table, these: "sa.ColumnElement[bool]", late: "sa.ColumnElement[bool]"
) -> dict[tuple[str, bool], int]:
    """How many of `these` there are, by their state and whether `late` holds for them."""
    is_late = late.label("late")
    query = sa.select(table.c.status, is_late, sa.func.count()).where(these).group_by(table.c.status, is_late)
    return {(row[0], bool(row[1])): row[2] for row in connection.execute(query)}
