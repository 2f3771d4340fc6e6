"""An optimistic transaction: it reads without locks, and all that it writes is one statement that holds or fails.

With locks a batch is BEGIN, a statement that finds out what is new, one that locks, one that reads what is locked, one
that writes, and COMMIT: six round trips, which somebody waits for. This takes two (docs/decisions/0016).

Invariant: nothing is written before the last statement, which is a transaction of its own. It fails as a whole when a
row that should be new is there, or when a write changed more or fewer rows than was expected of it. So an action that
may run in one makes each of its writes depend on what it has read: by a version that must be the next one, or by
`expects`.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.databases.direct import Prepared, Values
from orderwright.kernel.databases.gathering import GatheringConnection, keep_apart, numbered
from orderwright.kernel.errors import NeedsLocks

SAID_WHEN_OVERTAKEN = "overtaken, and done again with locks"
"""Stands in PostgreSQL's log where a statement failed for that."""


class OptimisticConnection(GatheringConnection):
    """A connection on which nothing is locked, and nothing written before the end."""

    prepares_at_once = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._expected: dict[str, int] = {}

    def later(
        self, table: sa.Table, statement: Any, values: Values, *, adds: bool = False, expects: int | None = None
    ) -> None:
        """Carry `statement` out at the end. If it does not write so many rows of `table`, nothing is written at all.

        What is changed was read before, so it is not among what is added; but two changes might be of one row.
        """
        part = f"{'new' if adds else 'changed'}_{table.name}"
        if part in self._waiting:
            raise NeedsLocks(f"Two writes to {table.name}")
        self._waiting[part] = (statement, values)
        if expects is not None:
            self._expected[part] = expects

    def execute(self, statement: Any, parameters: Any = None, **more: Any) -> Any:
        """Only what reads, and that before anything is to be written."""
        if self._waiting or more or isinstance(parameters, list) or self.dispatch.before_cursor_execute:
            raise NeedsLocks("What reads after it has written must see it")
        values = parameters or {}
        prepared = self._statements.prepared(statement, [values], self.dialect, many=False, at_once=True)
        if prepared is None or not prepared.only_reads:
            raise NeedsLocks("A statement that locks or writes, or that is another one each time")
        return self.carry_out(prepared.sql, prepared.filled_in(values), prepared)

    def exec_driver_sql(self, statement: str, parameters: Any = None, execution_options: Any = None) -> Any:  # noqa: ARG002
        """Nobody knows what it does."""
        raise NeedsLocks("A statement in the driver's own words")

    def _one_by_one(self, waiting: Sequence[tuple[Any, Values]]) -> None:
        raise NeedsLocks(f"One of {len(waiting)} writes is another one each time")

    def _together(self, named: tuple[str, ...], prepared: tuple[Prepared, ...]) -> tuple[str, tuple[Any, ...]]:
        if not self._expected:
            return super()._together(_tables(named), prepared)
        # PostgreSQL carries them out as they are counted, and the rest behind them. So the order is that of one with
        # locks (what must be new, then what is changed), and neither holds what the other one waits for.
        expected = tuple(sorted(self._expected, key=lambda name: name.startswith("changed_")))
        sql = self._statements.composed((prepared, expected), lambda: guarded(prepared, named, expected))
        return sql, tuple(self._expected[name] for name in expected)


def guarded(prepared: Sequence[Prepared], named: Sequence[str], expected: Sequence[str]) -> str:
    """One statement that does what all of these do, each under its name.

    It fails unless each of those that are expected to writes as many rows as the further values say. ValueError when
    one reads what another writes.
    """
    keep_apart(prepared, _tables(named))
    next_value = sum(one.values for one in prepared) + 1
    parts = [
        f"{name} AS ({sql}{' RETURNING 1' if name in expected else ''})"
        for name, sql in zip(named, numbered(prepared), strict=True)
    ]
    held = [f"(SELECT count(*) FROM {name}) = ${number}::bigint" for number, name in enumerate(expected, next_value)]  # noqa: S608
    # Made a number after the choice: a constant that is none would be looked at, and fail, when this is planned.
    chosen = f"CASE WHEN {' AND '.join(held)} THEN '1' ELSE '{SAID_WHEN_OVERTAKEN}' END"
    return f"WITH {', '.join(parts)} SELECT CAST({chosen} AS integer)"


def _tables(named: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.partition("_")[2] for name in named)
