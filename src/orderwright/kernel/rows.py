"""Many rows in one statement, in words that do not change with their number.

PostgreSQL prepares a statement once for each text, so rows travel as one array a column (`unnest`), and a list of ids
as one array (`= ANY`). SQLite runs the plain statement for each row, and reads a list as JSON. This is the one place
where the two differ in how they are written to.

Invariant: the rows of one call all have the members of the first one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

Rows = Sequence[Mapping[str, Any]]


def insert(connection: sa.Connection, table: sa.Table, rows: Rows) -> None:
    """Add `rows`. IntegrityError when one is there already."""
    if rows:
        _insert_all(connection, table, rows, "")


def insert_ignoring(connection: sa.Connection, table: sa.Table, rows: Rows) -> None:
    """Add those of `rows` that are not there yet."""
    if rows:
        _insert_all(connection, table, rows, "ON CONFLICT DO NOTHING")


def insert_updating(
    connection: sa.Connection, table: sa.Table, rows: Rows, key: Sequence[str], changes: Sequence[str]
) -> None:
    """Add `rows`, or where `key` is there already set the columns `changes`. No two rows may have the same key."""
    if rows:
        updates = ", ".join(f"{name} = excluded.{name}" for name in changes)
        _insert_all(connection, table, rows, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}")


def insert_new(connection: sa.Connection, table: sa.Table, rows: Rows, answers: Sequence[str]) -> list["sa.Row[Any]"]:
    """Add those of `rows` that are not there yet; the columns `answers` of each one that was added."""
    if not rows:
        return []
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        statement = _insert_arrays(table, names, "ON CONFLICT DO NOTHING", tuple(answers))
        return list(connection.execute(statement, _arrays(rows)))
    if any(isinstance(table.c[name].type, sa.LargeBinary) for name in names):
        one = _insert_values(table, names, "ON CONFLICT DO NOTHING", tuple(answers))
        return [added for row in rows for added in connection.execute(one, _prefixed(row))]
    values = [[row[name] for name in names] for row in rows]
    return list(connection.execute(_insert_json(table, names, tuple(answers)), {"rows": values}))


def update(connection: sa.Connection, table: sa.Table, rows: Rows, key: Sequence[str]) -> int:
    """Set each row that `key` names to what is given for it; answers how many there were."""
    if not rows:
        return 0
    arguments = _arrays(rows) if connection.dialect.name == "postgresql" else [_prefixed(row) for row in rows]
    return connection.execute(_update(connection.dialect.name, table, tuple(rows[0]), tuple(key)), arguments).rowcount


def change(connection: sa.Connection, table: sa.Table, rows: Rows, key: Sequence[str], sets: str, where: str) -> int:
    """Change the rows that `key` names, those of them for which `where` holds; answers how many.

    `sets` and `where` are SQL in which `given` is what was given for the row: `reserved = reserved + given.n`. The rows
    are locked in the order of their keys first, so that two who change the same rows never wait for each other.
    """
    if not rows:
        return 0
    names = tuple(rows[0])
    if connection.dialect.name != "postgresql":
        values = [[row[name] for name in names] for row in rows]
        arguments: dict[str, Any] = {"rows": values}
    else:
        arguments = _arrays(rows)
        connection.execute(_lock(table, names, tuple(key)), arguments)
    return connection.execute(
        _change(connection.dialect.name, table, names, tuple(key), sets, where), arguments
    ).rowcount


def one_of(column: "sa.ColumnElement[Any]", values: Iterable[Any]) -> "sa.ColumnElement[bool]":
    """Whether `column` is one of `values`; never, when there are none."""
    return _OneOf(column, sa.bindparam(None, list(values), type_=_List(column.type), unique=True))


def among(column: "sa.ColumnElement[Any]", name: str) -> "sa.ColumnElement[bool]":
    """Whether `column` is one of the values that are given as the list `name` when the statement is executed.

    For statements that are made once: making one costs more than executing it.
    """
    return _OneOf(column, sa.bindparam(name, type_=_List(column.type)))


def due(query: "sa.Select[Any]", at: "sa.ColumnElement[Any]") -> "sa.Select[Any]":
    """Of what `query` finds the first `most` whose time `at` has come by `now`, both given when it is executed.

    They are locked; what somebody else has in hand is passed over, so that several share the work.
    """
    first = query.where(at <= sa.bindparam("now")).order_by(at).limit(sa.bindparam("most", type_=sa.Integer))
    return first.with_for_update(skip_locked=True)


def _insert_all(connection: sa.Connection, table: sa.Table, rows: Rows, conflict: str) -> None:
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        connection.execute(_insert_arrays(table, names, conflict, ()), _arrays(rows))
    else:
        connection.execute(_insert_values(table, names, conflict, ()), [_prefixed(row) for row in rows])


def _arrays(rows: Rows) -> dict[str, list[Any]]:
    return {f"a_{name}": [row[name] for row in rows] for name in rows[0]}


def _prefixed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {f"a_{name}": value for name, value in row.items()}


class _List(sa.types.TypeDecorator[list[Any]]):
    """A list of values of one type."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, item: "sa.types.TypeEngine[Any]") -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(
            sa.Text() if dialect.name == "sqlite" else postgresql.ARRAY(self.item, dimensions=1)
        )

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        item = self.item.dialect_impl(dialect).bind_processor(dialect)
        return json.dumps(value if item is None else [item(one) for one in value])


class _OneOf(sa.ColumnElement[bool]):
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own way of saying what belongs to an element
        ("column", InternalTraversal.dp_clauseelement),
        ("values", InternalTraversal.dp_clauseelement),
    ]
    type = sa.Boolean()

    def __init__(self, column: "sa.ColumnElement[Any]", values: "sa.BindParameter[Any]") -> None:
        self.column = column
        self.values = values

    @property
    def _from_objects(self) -> Any:
        return self.column._from_objects

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002 - as SQLAlchemy calls it
        # As it stands. SQLAlchemy's own way for databases without booleans is `… IN (…) = 1`, for which SQLite reads
        # the whole table: only a bare IN is looked up in an index.
        return self


@compiles(_OneOf, "postgresql")
def _any_of(element: _OneOf, compiler: Any, **options: Any) -> str:
    return f"{compiler.process(element.column, **options)} = ANY ({compiler.process(element.values, **options)})"


@compiles(_OneOf)
def _in_list(element: _OneOf, compiler: Any, **options: Any) -> str:
    listed = f"SELECT value FROM json_each({compiler.process(element.values, **options)})"
    return f"{compiler.process(element.column, **options)} IN ({listed})"


class _JsonRows(sa.types.TypeDecorator[list[list[Any]]]):
    """Rows as a JSON document, each value as SQLite stores it; for columns without bytes."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, *columns: "sa.types.TypeEngine[Any]") -> None:
        super().__init__()
        self.columns = columns

    def process_bind_param(self, value: list[list[Any]] | None, dialect: Dialect) -> str:
        processors = [column.dialect_impl(dialect).bind_processor(dialect) for column in self.columns]
        return json.dumps(
            [
                [item if process is None else process(item) for item, process in zip(row, processors, strict=True)]
                for row in value or []
            ]
        )


# The statements are kept: making one is costly, and it is always the same for the same words.


@cache
def _insert_values(table: sa.Table, names: tuple[str, ...], conflict: str, answers: tuple[str, ...]) -> Any:
    values = ", ".join(f":a_{name}" for name in names)
    text = sa.text(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) {conflict} {_returning(answers)}")
    typed = text.bindparams(*(sa.bindparam(f"a_{name}", type_=table.c[name].type) for name in names))
    return _answering(typed, table, answers)


@cache
def _insert_arrays(table: sa.Table, names: tuple[str, ...], conflict: str, answers: tuple[str, ...]) -> Any:
    source = f"SELECT * FROM {_given('postgresql', names)}"
    text = sa.text(f"INSERT INTO {table.name} ({', '.join(names)}) {source} {conflict} {_returning(answers)}")
    return _answering(text.bindparams(*_given_parameters("postgresql", table, names)), table, answers)


@cache
def _insert_json(table: sa.Table, names: tuple[str, ...], answers: tuple[str, ...]) -> Any:
    # Without WHERE the parser takes ON CONFLICT for the beginning of a join (https://sqlite.org/lang_upsert.html).
    text = sa.text(
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM {_given('sqlite', names)} WHERE true "
        f"ON CONFLICT DO NOTHING RETURNING {', '.join(answers)}"
    )
    return _answering(text.bindparams(*_given_parameters("sqlite", table, names)), table, answers)


@cache
def _change(
    dialect: str, table: sa.Table, names: tuple[str, ...], key: tuple[str, ...], sets: str, where: str
) -> "sa.TextClause":
    these = " AND ".join(f"{table.name}.{name} = given.{name}" for name in key)
    text = sa.text(f"UPDATE {table.name} SET {sets} FROM {_given(dialect, names)} WHERE {these} AND ({where})")
    return text.bindparams(*_given_parameters(dialect, table, names))


@cache
def _lock(table: sa.Table, names: tuple[str, ...], key: tuple[str, ...]) -> "sa.TextClause":
    columns = ", ".join(f"{table.name}.{name}" for name in key)
    source = f"{table.name} JOIN {_given('postgresql', names)} USING ({', '.join(key)})"
    text = sa.text(f"SELECT 1 FROM {source} ORDER BY {columns} FOR UPDATE OF {table.name}")
    return text.bindparams(*_given_parameters("postgresql", table, names))


@cache
def _update(dialect: str, table: sa.Table, names: tuple[str, ...], key: tuple[str, ...]) -> "sa.TextClause":
    changes = [name for name in names if name not in key]
    if dialect == "postgresql":
        return _change(dialect, table, names, key, ", ".join(f"{name} = given.{name}" for name in changes), "true")
    sets = ", ".join(f"{name} = :a_{name}" for name in changes)
    text = sa.text(f"UPDATE {table.name} SET {sets} WHERE {' AND '.join(f'{name} = :a_{name}' for name in key)}")
    return text.bindparams(*(sa.bindparam(f"a_{name}", type_=table.c[name].type) for name in names))


def _given(dialect: str, names: Sequence[str]) -> str:
    """The rows of a call as something to select from."""
    if dialect == "postgresql":
        return f"unnest({', '.join(f':a_{name}' for name in names)}) AS given ({', '.join(names)})"
    values = ", ".join(f"json_extract(value, '$[{number}]') AS {name}" for number, name in enumerate(names))
    return f"(SELECT {values} FROM json_each(:rows)) AS given"


def _given_parameters(dialect: str, table: sa.Table, names: Sequence[str]) -> list["sa.BindParameter[Any]"]:
    types = [table.c[name].type if name in table.c else sa.BigInteger() for name in names]
    if dialect == "postgresql":
        return [sa.bindparam(f"a_{name}", type_=_List(type_)) for name, type_ in zip(names, types, strict=True)]
    return [sa.bindparam("rows", type_=_JsonRows(*types))]


def _returning(answers: Sequence[str]) -> str:
    return f"RETURNING {', '.join(answers)}" if answers else ""


def _answering(text: "sa.TextClause", table: sa.Table, answers: Sequence[str]) -> Any:
    return text.columns(*(table.c[name] for name in answers)) if answers else text
