"""Statements that come again go to the driver by a shorter way than SQLAlchemy's.

SQLAlchemy compiles each of them once, and is not asked any more how to fill in values and read rows: that cost more
than the driver's own work (docs/decisions/0013). Invariant: the same SQL with the same values, the same rows and the
same errors as by SQLAlchemy's own way. Whoever listens to `before_cursor_execute` hears of every statement.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
Names = tuple[tuple[str, ...], bool]
"""Of the values of one execution, and whether there are many executions in one."""

COMES_AGAIN: Final = 3
"""A statement that was made for one execution is not worth preparing; the third time it is not one of those."""

MOST_COMPOSED: Final = 1000
"""A service has some dozens. Whoever makes a new statement for each execution must not fill the memory with them."""


@dataclass(slots=True)
class Answered:
    """What a driver said to one execution."""

    columns: Callable[[], Sequence[tuple[Any, ...]]]
    """Name and type of each column of `rows`, in the driver's words; asked for once a statement."""
    rows: Sequence[Any]
    changed: int


class Found(IteratorResult[Any]):
    """What a statement found, and how many rows it changed."""

    rowcount: int


class Prepared:
    """A statement that was compiled, with all that it takes to fill it in and to read its rows."""

    def __init__(self, compiled: SQLCompiler, dialect: sa.Dialect) -> None:
        self.sql = str(compiled)
        processors = cast("Mapping[str, Any]", compiled._bind_processors)
        self._names = [(name, processors.get(name)) for name in compiled.positiontup or ()]
        self.values = len(self._names)
        """How many values it takes."""
        self.only_reads = isinstance(compiled.statement, sa.SelectBase) and "FOR UPDATE" not in self.sql
        self._fixed = {
            name: parameter.effective_value for parameter, name in compiled.bind_names.items() if not parameter.required
        }
        self._dialect = dialect
        self._columns = [(column.keyname, column.type) for column in compiled._result_columns]
        self._shape: SimpleResultMetaData | None = None

    def filled_in(self, values: Values) -> tuple[Any, ...]:
        """The values in the order in which the driver wants them."""
        given = {**self._fixed, **values} if self._fixed else values
        return tuple([given[name] if process is None else process(given[name]) for name, process in self._names])

    def found(self, answered: Answered) -> Found:
        """What it came to."""
        if self._shape is None:
            self._shape = self._shaped(answered.columns())
        found = Found(self._shape, iter(answered.rows))
        found.rowcount = answered.changed
        return found

    def _shaped(self, description: Sequence[tuple[Any, ...]]) -> SimpleResultMetaData:
        if not self._columns:
            return SimpleResultMetaData([told[0] for told in description])
        readers: list[Any] = [
            kind._cached_result_processor(self._dialect, told[1])
            for (_, kind), told in zip(self._columns, description, strict=True)
        ]
        return SimpleResultMetaData([name for name, _ in self._columns], _processors=readers if any(readers) else None)


class Statements:
    """The statements that one database was given, as long as somebody keeps them."""

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._prepared: WeakKeyDictionary[Any, dict[Names, Prepared | None]] = WeakKeyDictionary()
        self._composed: dict[Hashable, str] = {}

    def composed(self, parts: Hashable, compose: Callable[[], str]) -> str:
        """The statement that is made of `parts`, which is composed once."""
        if parts not in self._composed:
            if len(self._composed) >= MOST_COMPOSED:
                self._composed.clear()
            self._composed[parts] = compose()
        return self._composed[parts]

    def prepared(
        self, statement: Any, rows: Sequence[Values], dialect: sa.Dialect, *, many: bool, at_once: bool = False
    ) -> Prepared | None:
        """`statement` for rows of values like these; None while, or if, it is SQLAlchemy's to carry out.

        It is not before it came again, unless it is wanted `at_once`.
        """
        known = self._prepared.get(statement)
        if known is None:
            if not isinstance(statement, sa.ClauseElement) or not (at_once or self._comes_again(statement)):
                return None
            known = self._prepared[statement] = {}
        names = tuple(rows[0]), many
        if names not in known:
            known[names] = _prepare(statement, dialect, names[0], many=many)
        return known[names]

    def _comes_again(self, statement: Any) -> bool:
        times = self._seen[statement] = self._seen.get(statement, 0) + 1
        return times >= COMES_AGAIN


class DirectConnection(sa.Connection):
    """A connection on which statements that come again take the short way."""

    def __init__(self, engine: sa.Engine, statements: Statements) -> None:
        super().__init__(engine)
        self._statements = statements

    def execute(self, statement: Any, parameters: Any = None, **more: Any) -> Any:
        """As SQLAlchemy does it."""
        many = isinstance(parameters, list)
        rows: Sequence[Values] = parameters if many else [parameters or {}]
        if more or not rows or self.dispatch.before_cursor_execute:
            return super().execute(statement, parameters, **more)
        prepared = self._statements.prepared(statement, rows, self.dialect, many=many)
        if prepared is None:
            return super().execute(statement, parameters)
        if many:
            return self.carry_out(prepared.sql, [prepared.filled_in(values) for values in rows], prepared)
        return self.carry_out(prepared.sql, prepared.filled_in(rows[0]), prepared)

    def carry_out(self, sql: str, filled: "tuple[Any, ...] | list[tuple[Any, ...]]", prepared: Prepared | None) -> Any:
        """Hand `sql` to the driver, a list of values one by one; what it found, as `prepared` reads it."""
        try:
            answered = self.ask(sql, filled)
            return prepared.found(answered) if prepared is not None else None
        except BaseException as error:
            # With its text SQLAlchemy takes any error for the statement's fault; a timeout, for one, is not.
            told = sql if isinstance(error, self.dialect.loaded_dbapi.Error) else None
            self._handle_dbapi_exception(error, told, filled, None, None)

    def ask(self, sql: str, filled: "tuple[Any, ...] | list[tuple[Any, ...]]") -> Answered:
        """What the driver says to `sql`."""
        cursor = self.connection.cursor()
        try:
            if isinstance(filled, list):
                cursor.executemany(sql, filled)
            else:
                cursor.execute(sql, filled)
            description = cursor.description or ()
            return Answered(lambda: description, cursor.fetchall() if description else (), cursor.rowcount)
        finally:
            cursor.close()


def _prepare(statement: Any, dialect: sa.Dialect, names: Iterable[str], *, many: bool) -> Prepared | None:
    """`statement` for values of these names; None when its text depends on them."""
    compiled = statement.compile(dialect=dialect, column_keys=sorted(names), for_executemany=many)
    if not isinstance(compiled, SQLCompiler) or compiled.post_compile_params or compiled.literal_execute_params:
        return None
    return None if many and compiled._result_columns else Prepared(compiled, dialect)
