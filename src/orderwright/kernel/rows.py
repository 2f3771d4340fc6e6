"""Many rows in one statement, in words that do not change with their number.

PostgreSQL prepares a statement once for each text, so rows travel as one JSON document (`json_to_recordset`), and a
list of ids as one array (`= ANY`). SQLite runs the plain statement for each row, and reads a list as JSON. This is the
one place where the two differ in how they are written to.

Invariant: the rows of one call all have the members of the first one.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

from orderwright.kernel.databases.gathering import GatheringConnection
from orderwright.kernel.databases.optimistic import OptimisticConnection

Rows = Sequence[Mapping[str, Any]]
_POSTGRES: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


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
        _insert_all(connection, table, rows, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}", adds=False)


def insert_new(
    connection: sa.Connection, table: sa.Table, rows: Rows, answers: Sequence[str], unless: str = ""
) -> list["sa.Row[Any]"]:
    """Add those of `rows` that are not there yet; the columns `answers` of each one that was added.

    Nothing is added while the query `unless`, which no row has to do with, finds anything.
    """
    if not rows:
        return []
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        statement = _insert_document(table, names, "ON CONFLICT DO NOTHING", tuple(answers), unless)
        return list(connection.execute(statement, {"rows": _document(rows)}))
    if any(isinstance(table.c[name].type, sa.LargeBinary) for name in names):
        if unless:
            raise ValueError(f"{table.name} has bytes, which are added row by row, and so not all or none of them")
        one = _insert_values(table, names, "ON CONFLICT DO NOTHING", tuple(answers))
        return [added for row in rows for added in connection.execute(one, _prefixed(row))]
    values = [[row[name] for name in names] for row in rows]
    return list(connection.execute(_insert_json(table, names, tuple(answers), unless), {"rows": values}))


def insert_exactly(connection: OptimisticConnection, table: sa.Table, rows: Rows, unless: str = "") -> None:
    """Add `rows`; nothing of the transaction is done when one is there, or while the query `unless` finds anything."""
    if rows:
        statement = _insert_document(table, tuple(rows[0]), "ON CONFLICT DO NOTHING", (), unless)
        connection.later(table, statement, {"rows": _document(rows)}, adds=True, expects=len(rows))


def update(connection: sa.Connection, table: sa.Table, rows: Rows, key: Sequence[str], only: str = "true") -> None:
    """Set each row that `key` names to what is given for it: those that are there, and for which `only` (SQL) holds.

    `only` may name what was `given` for the row, also whole numbers that are no column: `version = given.before`.
    An optimistic transaction expects all of them: it has read them.
    """
    if not rows:
        return
    statement = _update(connection.dialect.name, table, tuple(rows[0]), tuple(key), only)
    if isinstance(connection, OptimisticConnection):
        connection.later(table, statement, _keyed_document(rows, key[0]), expects=len(rows))
    elif connection.dialect.name == "postgresql":
        later(connection, table, statement, _keyed_document(rows, key[0]))
    else:
        connection.execute(statement, [_prefixed(row) for row in rows])


def change_all(
    connection: sa.Connection, table: sa.Table, rows: Rows, key: Sequence[str], sets: str, where: str
) -> bool:
    """As `change`; answers whether it changed each of `rows`, and if not, the transaction must not go on.

    An optimistic one finds that out by itself, at its end.
    """
    if rows and isinstance(connection, OptimisticConnection):
        statement = _change_in_order(connection.dialect.name, table, tuple(rows[0]), tuple(key), sets, where)
        connection.later(table, statement, _keyed_document(rows, key[0]), expects=len(rows))
        return True
    return change(connection, table, rows, key, sets, where) == len(rows)


def change(connection: sa.Connection, table: sa.Table, rows: Rows, key: Sequence[str], sets: str, where: str) -> int:
    """Change the rows that `key` names, those of them for which `where` holds; answers how many.

    `sets` and `where` are SQL in which `given` is what was given for the row: `reserved = reserved + given.n`. The rows
    are locked in the order of their keys first, so that two who change the same rows never wait for each other.
    """
    if not rows:
        return 0
    names, dialect = tuple(rows[0]), connection.dialect.name
    if dialect == "postgresql":
        arguments = _keyed_document(rows, key[0])
    else:
        arguments = {"rows": [[row[name] for name in names] for row in rows]}
    return connection.execute(_change_in_order(dialect, table, names, tuple(key), sets, where), arguments).rowcount


def later(
    connection: sa.Connection, table: sa.Table, statement: Any, values: Mapping[str, Any], *, adds: bool = False
) -> None:
    """Carry out `statement`, which adds or changes rows of `table`, reads no other one, and whose answer nobody needs.

    On PostgreSQL it may travel with others like it, before the next thing that is asked or at the end of the
    transaction: an error of its own comes then.
    """
    if isinstance(connection, GatheringConnection):
        connection.later(table, statement, values, adds=adds)
    else:
        connection.execute(statement, values)


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


def _insert_all(connection: sa.Connection, table: sa.Table, rows: Rows, conflict: str, *, adds: bool = True) -> None:
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        statement = _insert_document(table, names, conflict, ())
        later(connection, table, statement, {"rows": _document(rows)}, adds=adds)
    else:
        connection.execute(_insert_values(table, names, conflict, ()), [_prefixed(row) for row in rows])


def _document(rows: Rows) -> str:
    members = rows[0].keys()
    for row in rows:
        if not members <= row.keys():
            # In a document what is missing would be NULL.
            raise KeyError(f"A row has no {', '.join(sorted(members - row.keys()))}, and the first row of its call has")
    return msgspec.json.encode(rows).decode()


def _keyed_document(rows: Rows, key: str) -> dict[str, Any]:
    return {"rows": _document(rows), "keys": [row[key] for row in rows]}


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
def _insert_document(
    table: sa.Table, names: tuple[str, ...], conflict: str, answers: tuple[str, ...], unless: str = ""
) -> Any:
    values = ", ".join(_given_value(table, name) for name in names)
    source = f"SELECT {values} FROM {_given_document(table, names)} {_where_not(unless)}"
    text = sa.text(f"INSERT INTO {table.name} ({', '.join(names)}) {source} {conflict} {_returning(answers)}")
    return _answering(text.bindparams(sa.bindparam("rows", type_=sa.Text())), table, answers)


@cache
def _insert_json(table: sa.Table, names: tuple[str, ...], answers: tuple[str, ...], unless: str) -> Any:
    # Without WHERE the parser takes ON CONFLICT for the beginning of a join (https://sqlite.org/lang_upsert.html).
    text = sa.text(
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM {_given_json(names)} {_where_not(unless)} "
        f"ON CONFLICT DO NOTHING RETURNING {', '.join(answers)}"
    )
    return _answering(text.bindparams(_json_rows(table, names)), table, answers)


@cache
def _change(
    dialect: str,
    table: sa.Table,
    names: tuple[str, ...],
    key: tuple[str, ...],
    sets: str,
    where: str,
    *,
    first: str = "",
) -> "sa.TextClause":
    these = " AND ".join(f"{table.name}.{name} = given.{name}" for name in key)
    if dialect == "postgresql":
        given, these = _given_document(table, names), f"{_has_key(table, key[0])} AND {these}"
        parameters = _keyed_document_parameters(table, key[0])
    else:
        given, parameters = _given_json(names), [_json_rows(table, names)]
    text = sa.text(f"{first} UPDATE {table.name} SET {sets} FROM {given} WHERE {these} AND ({where})")
    return text.bindparams(*parameters)


@cache
def _change_in_order(
    dialect: str, table: sa.Table, names: tuple[str, ...], key: tuple[str, ...], sets: str, where: str
) -> "sa.TextClause":
    if dialect != "postgresql":
        return _change(dialect, table, names, key, sets, where)
    columns = ", ".join(f"{table.name}.{name}" for name in key)
    source = f"{table.name} JOIN {_given_document(table, names)} USING ({', '.join(key)})"
    locking = f"SELECT 1 FROM {source} WHERE {_has_key(table, key[0])} ORDER BY {columns} FOR UPDATE OF {table.name}"
    # Counting them has all of them locked before the first one is changed; what others changed while this waited for
    # a lock is read again then, and `where` asked of that.
    all_locked = "(SELECT count(*) FROM locked) >= 0"
    first = f"WITH locked AS MATERIALIZED ({locking})"
    return _change(dialect, table, names, key, sets, f"({where}) AND {all_locked}", first=first)


@cache
def _update(dialect: str, table: sa.Table, names: tuple[str, ...], key: tuple[str, ...], only: str) -> "sa.TextClause":
    changes = [name for name in names if name not in key and name in table.c]
    if dialect == "postgresql":
        sets = ", ".join(f"{name} = {_given_value(table, name)}" for name in changes)
        return _change(dialect, table, names, key, sets, only)
    sets = ", ".join(f"{name} = :a_{name}" for name in changes)
    these = " AND ".join(f"{name} = :a_{name}" for name in key)
    bound = re.sub(r"\bgiven\.", ":a_", only)
    text = sa.text(f"UPDATE {table.name} SET {sets} WHERE {these} AND ({bound})")
    return text.bindparams(*(sa.bindparam(f"a_{name}", type_=_kind(table, name)) for name in names))


def _given_document(table: sa.Table, names: Sequence[str]) -> str:
    """The rows of a call as something for PostgreSQL to select from."""
    columns = ", ".join(f"{name} {_kind_in_document(table, name)}" for name in names)
    return f"json_to_recordset(CAST(:rows AS json)) AS given ({columns})"


def _kind_in_document(table: sa.Table, name: str) -> str:
    if name not in table.c:
        return "bigint"
    kind = table.c[name].type.dialect_impl(_POSTGRES)
    # Text of any length is compared; where it is to be stored, the column itself says how long it may be.
    return "text" if isinstance(kind, sa.String | sa.LargeBinary) else kind.compile(_POSTGRES)


def _given_value(table: sa.Table, name: str) -> str:
    binary = isinstance(table.c[name].type, sa.LargeBinary)
    return f"decode(given.{name}, 'base64')" if binary else f"given.{name}"


def _has_key(table: sa.Table, name: str) -> str:
    # Without it the planner takes any document for a hundred rows, and reads the whole of a middling table for them.
    # So the first name of a key is the one that few rows have in common.
    return f"{table.name}.{name} = ANY (:keys)"


def _given_json(names: Sequence[str]) -> str:
    """The rows of a call as something for SQLite to select from."""
    values = ", ".join(f"json_extract(value, '$[{number}]') AS {name}" for number, name in enumerate(names))
    return f"(SELECT {values} FROM json_each(:rows)) AS given"


def _keyed_document_parameters(table: sa.Table, key: str) -> list["sa.BindParameter[Any]"]:
    return [sa.bindparam("rows", type_=sa.Text()), sa.bindparam("keys", type_=_List(table.c[key].type))]


def _json_rows(table: sa.Table, names: Sequence[str]) -> "sa.BindParameter[Any]":
    return sa.bindparam("rows", type_=_JsonRows(*(_kind(table, name) for name in names)))


def _kind(table: sa.Table, name: str) -> "sa.types.TypeEngine[Any]":
    """The type of what is given under that name: the column's, or that of a whole number."""
    return table.c[name].type if name in table.c else sa.BigInteger()


def _returning(answers: Sequence[str]) -> str:
    return f"RETURNING {', '.join(answers)}" if answers else ""


def _where_not(unless: str) -> str:
    return f"WHERE NOT EXISTS ({unless})" if unless else "WHERE true"


def _answering(text: "sa.TextClause", table: sa.Table, answers: Sequence[str]) -> Any:
    return text.columns(*(table.c[name] for name in answers)) if answers else text
