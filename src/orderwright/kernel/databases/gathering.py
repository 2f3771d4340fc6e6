"""Writes of one transaction whose answer nobody needs travel to PostgreSQL together, as one statement.

A round trip costs both processes more than a small write does (docs/decisions/0014). Invariant: whatever is executed
after a write that waits finds it done, and at COMMIT nothing waits. Writes that travel together are to different
tables and read none of each other's, so none of them depends on what another one does to a row.
"""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.databases.direct import Answered, DirectConnection, Prepared, Statements, Values


class GatheringConnection(DirectConnection):
    """A connection that keeps writes until somebody asks for something, or until the end."""

    prepares_at_once = False
    """Whether a statement need not have come before to be prepared."""

    def __init__(self, engine: sa.Engine, statements: Statements) -> None:
        super().__init__(engine, statements)
        self._waiting: dict[str, tuple[Any, Values]] = {}
        """By the table that is written to."""

    def later(self, table: sa.Table, statement: Any, values: Values, *, adds: bool = False) -> None:  # noqa: ARG002
        """Carry `statement` out before anything else is executed here, or before the COMMIT.

        It adds or changes rows of `table`, and reads no other table: it would not see what travels with it.
        """
        if table.name in self._waiting:
            self.catch_up()
        self._waiting[table.name] = (statement, values)

    def execute(self, statement: Any, parameters: Any = None, **more: Any) -> Any:
        self.catch_up()
        return super().execute(statement, parameters, **more)

    def exec_driver_sql(self, statement: str, parameters: Any = None, execution_options: Any = None) -> Any:
        self.catch_up()
        return super().exec_driver_sql(statement, parameters, execution_options)

    def ask(self, sql: str, filled: "tuple[Any, ...] | list[tuple[Any, ...]]") -> Answered:
        """Without the cursor that SQLAlchemy puts before asyncpg: it describes every column anew, and takes a lock."""
        if isinstance(filled, list):
            return super().ask(sql, filled)
        driver: Any = self.connection.dbapi_connection
        try:
            answered: Answered = driver.await_(_answered(driver, sql, filled))
            return answered
        except Exception as error:
            driver._handle_exception(error)
            raise

    def catch_up(self, *, at_the_end: bool = False) -> None:
        """Carry out what waits. At the end of a transaction, what is all of it needs no BEGIN and no COMMIT."""
        if not self._waiting:
            return
        named, waiting, self._waiting = tuple(self._waiting), list(self._waiting.values()), {}
        prepared = self._prepared(waiting)
        if prepared is None:
            self._one_by_one(waiting)
            return
        filled = [value for one, (_, values) in zip(prepared, waiting, strict=True) for value in one.filled_in(values)]
        sql, more = self._together(named, prepared)
        driver: Any = self.connection.dbapi_connection
        # One statement is a transaction of its own.
        driver.autocommit = at_the_end and not driver._started
        try:
            self.carry_out(sql, (*filled, *more), None)
        finally:
            driver.autocommit = False

    def _one_by_one(self, waiting: Sequence[tuple[Any, Values]]) -> None:
        for statement, values in waiting:
            super().execute(statement, values)

    def _together(self, named: tuple[str, ...], prepared: tuple[Prepared, ...]) -> tuple[str, tuple[Any, ...]]:
        """One statement that does what all of these, with their names, do; and the values it takes beside theirs."""
        return self._statements.composed(prepared, lambda: together(prepared, named)), ()

    def _prepared(self, waiting: Sequence[tuple[Any, Values]]) -> tuple[Prepared, ...] | None:
        if self.dispatch.before_cursor_execute:
            return None
        found = tuple(
            self._statements.prepared(statement, [values], self.dialect, many=False, at_once=self.prepares_at_once)
            for statement, values in waiting
        )
        return None if None in found else found  # type: ignore[return-value]


async def _answered(driver: Any, sql: str, values: tuple[Any, ...]) -> Answered:
    if not driver._started:
        await driver._start_transaction()
    statement, columns = await driver._prepare(sql, 0.0)
    rows = await statement.fetch(*values)
    changed = statement.get_statusmsg().rpartition(" ")[2]
    return Answered(
        lambda: [(column.name, column.type.oid) for column in columns], rows, int(changed) if changed.isdigit() else -1
    )


def together(prepared: Sequence[Prepared], tables: Sequence[str]) -> str:
    """One statement that does what all of these, to these tables, do. ValueError when one reads what another writes."""
    keep_apart(prepared, tables)
    *others, last = numbered(prepared)
    parts = ", ".join(f"part{number} AS ({sql})" for number, sql in enumerate(others))
    return f"WITH {parts} {last}" if parts else last


def keep_apart(prepared: Sequence[Prepared], tables: Sequence[str]) -> None:
    """ValueError when one of these reads a table that another one writes: it would not see what that one does."""
    for one, own in zip(prepared, tables, strict=True):
        for other in set(tables) - {own}:
            if re.search(rf'\b(FROM|JOIN|USING)\s+"?{other}\b', one.sql):
                raise ValueError(f"A write to {own} reads {other}, which is written with it: execute it instead")


def numbered(prepared: Sequence[Prepared]) -> list[str]:
    """The SQL of each of these, with their values counted through."""
    texts, before = [], 0
    for one in prepared:
        texts.append(re.sub(r"\$(\d+)", lambda found, before=before: f"${int(found[1]) + before}", one.sql))  # type: ignore[misc]
        before += one.values
    return texts
