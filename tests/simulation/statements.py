"""Statements that come again are executed by the driver itself: SQLAlchemy compiles each of them once and is not asked
any more how to fill in values and read rows, which cost more than SQLite's own work.

Invariant: the same SQL with the same values, and the same rows, as by SQLAlchemy's own way; a world that is `thorough`
goes that way every time, and a test compares the two.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
Process = Callable[[Any], Any] | None


class Found(IteratorResult[Any]):
    """What a statement found, and how many rows it changed."""

    rowcount: int


class Prepared:
    """A statement that was compiled, with all that it takes to fill it in and to read its rows."""

    def __init__(self, compiled: SQLCompiler, dialect: sa.Dialect) -> None:
        self.sql = str(compiled)
        processors = cast("Mapping[str, Process]", compiled._bind_processors)
        self._names = [(name, processors.get(name)) for name in compiled.positiontup or ()]
        self._fixed = {
            name: parameter.effective_value for parameter, name in compiled.bind_names.items() if not parameter.required
        }
        columns = compiled._result_columns
        readers: list[Any] = [column.type._cached_result_processor(dialect, None) for column in columns]
        self._shape = SimpleResultMetaData(
            [column.keyname for column in columns], _processors=readers if any(readers) else None
        )

    def filled_in(self, values: Values) -> list[Any]:
        """The values in the order in which SQLite wants them."""
        given = {**self._fixed, **values}
        return [given[name] if process is None else process(given[name]) for name, process in self._names]

    def read(self, cursor: sqlite3.Cursor) -> Found:
        """What it came to."""
        found = Found(self._shape, iter(cursor.fetchall()))
        found.rowcount = cursor.rowcount
        return found


def prepare(statement: Any, dialect: sa.Dialect, names: Iterable[str], *, many: bool) -> Prepared | None:
    """`statement` for values of these names; None when its text depends on them."""
    compiled = statement.compile(dialect=dialect, column_keys=sorted(names), for_executemany=many)
    if not isinstance(compiled, SQLCompiler) or compiled.post_compile_params or compiled.literal_execute_params:
        return None
    if many and compiled._result_columns:
        return None
    is_query = isinstance(statement, sa.TextClause) and compiled.string.lstrip()[:6].upper() in {"SELECT", "WITH"}
    return None if is_query else Prepared(compiled, dialect)


class DirectConnection(sa.Connection):
    """A connection on which statements that come again take the short way."""

    direct = True
    """Whether any does."""
    driver: sqlite3.Connection
    before: Callable[[], None]
    """Called before each statement that takes it."""
    _known: dict[tuple[int, tuple[str, ...], bool], tuple[Any, Prepared | None]]
    """By identity, with the statement itself, which keeps its identity from being another one's."""

    def use(self, driver: sqlite3.Connection, before: Callable[[], None]) -> None:
        """What lies below SQLAlchemy."""
        self.driver, self.before, self._known = driver, before, {}

    def execute(self, statement: Any, parameters: Any = None, **more: Any) -> Any:
        """As SQLAlchemy does it."""
        if not self.direct or "_generate_cache_key" not in statement.__dict__:
            # The first time, and perhaps the only one.
            return super().execute(statement, parameters, **more)
        many = isinstance(parameters, list)
        rows: Sequence[Values] = parameters if many else [parameters or {}]
        prepared = self._prepared(statement, tuple(rows[0]), many=many) if rows else None
        if prepared is None:
            return super().execute(statement, parameters, **more)
        self.before()
        filled = [prepared.filled_in(values) for values in rows]
        try:
            if many:
                return prepared.read(self.driver.executemany(prepared.sql, filled))
            return prepared.read(self.driver.execute(prepared.sql, filled[0]))
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance(
                prepared.sql, filled, error, sqlite3.Error, dialect=self.dialect
            ) from error

    def _prepared(self, statement: Any, names: tuple[str, ...], *, many: bool) -> Prepared | None:
        key = id(statement), names, many
        if key not in self._known:
            self._known[key] = statement, prepare(statement, self.dialect, names, many=many)
        return self._known[key][1]
