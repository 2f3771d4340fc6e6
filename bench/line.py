"""pgbench's line: what PostgreSQL alone does with the rows of an order, one statement at a time.

A running platform is given orders one after the other, so that nothing is batched. What each of its tables gained,
changed and lost, and how many transactions wrote, becomes a pgbench script on copies of the same tables. Nothing about
the tables is written down here, so the line cannot drift from the product.
"""

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from bench.installation import BOOKS, maintain
from orderwright.kernel.tables import upkeep

STATS_DELAY_S = 12.0
"""An idle connection tells its statistics after up to ten seconds (PostgreSQL 15)."""
WARM_UP_S = 5
NAME = "bench_line"
"""The database that the tables are copied to."""
STANDING_ROWS = 40
"""Rows of tables that orders change and never add to, such as stock."""


@dataclass(frozen=True, slots=True)
class Doing:
    """Rows of one table that an order adds, changes and removes."""

    added: int
    changed: int
    removed: int


@dataclass(frozen=True, slots=True)
class OneOrder:
    """What one order does to the databases."""

    transactions: int
    tables: dict[tuple[str, str], Doing]

    @property
    def rows(self) -> int:
        """Rows added, changed and removed."""
        return sum(doing.added + doing.changed + doing.removed for doing in self.tables.values())


async def observe(database: str, place_one: Callable[[], Awaitable[None]], *, orders: int = 20) -> OneOrder:
    """Have orders placed, each after the one before it has ended, and see what each of them wrote."""
    before, first = await _counts(database), await _transactions(database)
    for _ in range(orders):
        await place_one()
    last, after = await _transactions(database), await _counts(database)
    tables = {
        key: Doing(*(round((now - then) / orders) for now, then in zip(after[key], before[key], strict=True)))
        for key in after
    }
    moved = {key: doing for key, doing in tables.items() if doing.added or doing.changed or doing.removed}
    return OneOrder(round((last - first) / orders), moved)


async def _transactions(database: str) -> int:
    connection = await asyncpg.connect(f"{database}_order")
    try:
        # Only a transaction that writes is given a number.
        return int(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))
    finally:
        await connection.close()


async def _counts(database: str) -> dict[tuple[str, str], tuple[int, int, int]]:
    await asyncio.sleep(STATS_DELAY_S)
    counts: dict[tuple[str, str], tuple[int, int, int]] = {}
    for service in BOOKS:
        connection = await asyncpg.connect(f"{database}_{service}")
        for row in await connection.fetch("SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables"):
            counts[service, row["relname"]] = (row["n_tup_ins"], row["n_tup_upd"], row["n_tup_del"])
        await connection.close()
    return counts


def _metadata(service: str) -> sa.MetaData:
    if service == "sandbox":
        metadata: sa.MetaData = import_module("orderwright.services.payment.providers.sandbox").charges.metadata
    else:
        metadata = import_module(f"orderwright.services.{service}.tables").metadata
    return metadata


class Line:
    """The pgbench script of one order, and the tables that it runs on."""

    def __init__(self, database: str, server: str, order: OneOrder) -> None:
        self._database = database
        self._server = server
        self._copies = f"{server.rpartition('/')[0]}/{NAME}"
        self._order = order
        self._samples: dict[tuple[str, str], dict[str, str | None]] = {}
        self._types: dict[tuple[str, str], dict[str, str]] = {}
        self._runs = 0
        self._best_clients = 0

    async def measure(self, *, clients: Sequence[int] = (8, 32), seconds: int = 20) -> dict[int, float]:
        """Orders a second, by the number of clients."""
        await self._sample()
        await self._make()
        await self._orders_per_s(1, WARM_UP_S)
        await maintain(self._copies, "ANALYZE")
        found = {number: await self._orders_per_s(number, seconds) for number in clients}
        self._best_clients = max(found, key=found.__getitem__)
        return found

    async def once_more(self, *, seconds: int) -> float:
        """Orders a second at this moment, with as many clients as were best before."""
        return await self._orders_per_s(self._best_clients, seconds)

    async def _orders_per_s(self, clients: int, seconds: int) -> float:
        self._runs += 1
        return await asyncio.to_thread(self._run, clients, seconds)

    def script(self) -> str:
        """What pgbench does for each order."""
        lines = [r"\set seq :seq + 1", rf"\set p random(1, {STANDING_ROWS})"]
        total = self._order.rows
        for service in BOOKS:
            # In the order of their references, so that a row is there before another one names it.
            names = [table.name for table in _metadata(service).sorted_tables]
            moved = [
                (name, self._order.tables[service, name]) for name in names if (service, name) in self._order.tables
            ]
            statements = [statement for name, doing in moved for statement in self._statements(service, name, doing)]
            if not statements:
                continue
            number = max(1, round(self._order.transactions * len(statements) / total))
            size = -(-len(statements) // number)
            for start in range(0, len(statements), size):
                lines += ["BEGIN;", *statements[start : start + size], "COMMIT;"]
        return "\n".join(lines) + "\n"

    def _statements(self, service: str, name: str, doing: Doing) -> list[str]:
        table = _metadata(service).tables[name]
        target = f'"{service}"."{name}"'
        sample = self._samples[service, name]
        columns = ", ".join(f'"{column}"' for column in sample)
        made: list[str] = []
        for row in range(1, doing.added + 1):
            values = ", ".join(self._value(service, table, column, row) for column in sample)
            made.append(f"INSERT INTO {target} ({columns}) VALUES ({values});")
        first = next(iter(table.primary_key.columns)).name
        free = [c.name for c in table.columns if c.name not in _keys(table)]
        touched = "updated_at" if "updated_at" in free else free[-1]
        own = max(doing.added, 1)
        for number in range(doing.changed):
            which = (
                self._key(service, name, first, number % own + 1)
                if doing.added
                else self._standing(service, name, first)
            )
            made.append(f'UPDATE {target} SET "{touched}" = "{touched}" WHERE "{first}" = {which};')
        gone = (self._key(service, name, first, number % own + 1) for number in range(doing.removed))
        return made + [f'DELETE FROM {target} WHERE "{first}" = {which};' for which in gone]

    def _value(self, service: str, table: sa.Table, column: str, row: int) -> str:
        if table.c[column].foreign_keys:
            return self._key(service, table.name, column, 1)
        if column in _keys(table):
            return self._key(service, table.name, column, row)
        return self._literal(service, table.name, column)

    def _literal(self, service: str, table: str, column: str) -> str:
        value = self._samples[service, table][column]
        return "NULL" if value is None else "'" + value.replace("'", "''") + "'::" + self._types[service, table][column]

    def _key(self, service: str, table: str, column: str, row: int) -> str:
        kind = self._types[service, table][column]
        if kind == "uuid":
            return f"(lpad(:client_id::text, 8, '0') || '-0000-7000-8{row:03}-' || lpad(:seq::text, 12, '0'))::uuid"
        if kind.startswith(("character", "text")):
            return f"('c' || :client_id::text || '-{row}-' || :seq::text)"
        return self._literal(service, table, column)

    def _standing(self, service: str, table: str, column: str) -> str:
        return (
            "('p' || :p::text)"
            if self._types[service, table][column] != "uuid"
            else self._literal(service, table, column)
        )

    async def _sample(self) -> None:
        for service, name in self._order.tables:
            connection = await asyncpg.connect(f"{self._database}_{service}")
            kinds = await connection.fetch(
                "SELECT attname, format_type(atttypid, atttypmod) AS kind FROM pg_attribute "
                "WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
                name,
            )
            self._types[service, name] = types = {row["attname"]: row["kind"] for row in kinds}
            texts = ", ".join(f'"{column}"::text AS "{column}"' for column in types)
            found = await connection.fetchrow(f'SELECT {texts} FROM "{name}" ORDER BY ctid DESC LIMIT 1')
            self._samples[service, name] = (
                dict(found) if found is not None else {column: _invented(kind) for column, kind in types.items()}
            )
            await connection.close()

    async def _make(self) -> None:
        connection = await asyncpg.connect(self._server)
        await connection.execute(f'DROP DATABASE IF EXISTS "{NAME}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{NAME}"')
        await connection.close()
        connection = await asyncpg.connect(self._copies)
        for service in BOOKS:
            copy = sa.MetaData(schema=service)
            metadata = _metadata(service)
            await connection.execute(f'CREATE SCHEMA "{service}"')
            for table in metadata.sorted_tables:
                table.to_metadata(copy, schema=service)
            for table in copy.sorted_tables:
                await connection.execute(_words(CreateTable(table)))
                for index in table.indexes:
                    await connection.execute(_words(CreateIndex(index)))
                if told := upkeep(table):
                    await connection.execute(told)
        await self._stand(connection)
        await connection.close()

    async def _stand(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Put rows where orders only change what is there."""
        for (service, name), doing in self._order.tables.items():
            if doing.added:
                continue
            table = _metadata(service).tables[name]
            first = next(iter(table.primary_key.columns)).name
            columns = list(self._samples[service, name])
            numbered = self._types[service, name][first] != "uuid"
            for number in range(1, (STANDING_ROWS if numbered else 1) + 1):
                values = [
                    f"'p{number}'" if c == first and numbered else self._literal(service, name, c) for c in columns
                ]
                listed = ", ".join(f'"{column}"' for column in columns)
                await connection.execute("SET session_replication_role = replica")
                await connection.execute(f'INSERT INTO "{service}"."{name}" ({listed}) VALUES ({", ".join(values)})')
        await connection.execute("SET session_replication_role = DEFAULT")

    def _run(self, clients: int, seconds: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "order.sql"
            path.write_text(self.script())
            # Each run begins behind what the one before it wrote.
            command = [
                "pgbench",
                "-n",
                "-M",
                "prepared",
                "-f",
                str(path),
                "-c",
                str(clients),
                "-j",
                "2",
                "-T",
                str(seconds),
                "-D",
                f"seq={self._runs * 10_000_000}",
                self._copies,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r"tps = ([0-9.]+)", done.stdout)
        if done.returncode or found is None:
            raise RuntimeError(f"pgbench failed:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
        return float(found.group(1))


def _words(statement: CreateTable | CreateIndex) -> str:
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(statement.compile(dialect=dialect))


def _keys(table: sa.Table) -> set[str]:
    """Columns whose values must differ from row to row: one of each key, and every reference to another row."""
    unique = [c.columns for c in table.constraints if isinstance(c, sa.UniqueConstraint | sa.PrimaryKeyConstraint)]
    unique += [index.columns for index in table.indexes if index.unique]
    one_each = {next((c.name for c in columns if not c.foreign_keys), next(iter(columns)).name) for columns in unique}
    return one_each | {c.name for c in table.columns if c.unique or c.foreign_keys}


def _invented(kind: str) -> str | None:
    """A value for a table that is empty while the platform rests, such as an outbox."""
    if kind.startswith("timestamp"):
        return "2026-01-01 00:00:00+00"
    if kind.startswith("character") or kind == "text":
        return "x" * 24
    return {
        "uuid": "00000000-0000-7000-8000-000000000000",
        "bytea": "\\x" + "61" * 300,
        "boolean": "true",
        "jsonb": "{}",
    }.get(kind, "1")
