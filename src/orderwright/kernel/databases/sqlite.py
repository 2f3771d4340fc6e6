"""SQLite: a file for each service, one thread that writes it and one that reads it.

Invariant: writers never wait for each other inside SQLite (there is one), every write begins with BEGIN IMMEDIATE so
that no transaction fails half-way for the lock, and COMMIT is on the disk before it returns (WAL with
`synchronous=FULL`).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from orderwright.kernel.database import sqlite_folder
from orderwright.kernel.databases.direct import DirectConnection, Statements
from orderwright.kernel.errors import DatabaseUnavailable

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000
WRITING, READING = "BEGIN IMMEDIATE", "BEGIN"
OUTAGES = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")
"""Failures of the disk or the lock, which pass; any other is a fault in the statement (https://sqlite.org/rescode.html)."""


def _json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class _Lane:
    """One connection in a thread of its own; work queues up for it."""

    def __init__(self, path: str, name: str, begin: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._begin = begin
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            poolclass=sa.pool.StaticPool,
            connect_args={"check_same_thread": False},
            # A failed statement must not carry what was to be stored into a log.
            hide_parameters=True,
            json_serializer=_json_text,
            json_deserializer=msgspec.json.decode,
        )
        sa.event.listen(self._engine, "connect", _prepare)
        if begin == READING:
            sa.event.listen(self._engine, "connect", _forbid_writing)
        sa.event.listen(self._engine, "begin", self._on_begin)
        self._statements = Statements()
        self._connection: sa.Connection | None = None

    def _on_begin(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(self._begin)

    def _run(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = DirectConnection(self._engine, self._statements)
            with self._connection.begin():
                return work(self._connection)
        except sa.exc.OperationalError as error:
            name = getattr(error.orig, "sqlite_errorname", "")
            if name.startswith(OUTAGES) and (name, self._begin) != ("SQLITE_READONLY", READING):
                raise DatabaseUnavailable(f"SQLite could not carry out the work: {error.orig}") from error
            raise

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        # The thread finishes what it began, whoever stops waiting for it.
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, work)

    async def close(self) -> None:
        def shut() -> None:
            if self._connection is not None:
                self._connection.close()
            self._engine.dispose()

        await asyncio.get_running_loop().run_in_executor(self._executor, shut)
        self._executor.shutdown()


class SqliteDatabase:
    """The file `<folder>/<service>.db`."""

    exclusive = True

    def __init__(self, url: str, service: str) -> None:
        folder = sqlite_folder(url)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / f"{service}.db"
        self._writer = _Lane(str(self.path), f"{service}-writer", WRITING)
        self._reader = _Lane(str(self.path), f"{service}-reader", READING)

    async def create(self) -> None:
        """Make the file, for its owner only."""
        self.path.touch(mode=0o600)

    async def write(self, work: Callable[[sa.Connection], T], *, optimistic: bool = False) -> T:  # noqa: ARG002
        # No statement costs a round trip here, and nobody else writes who could hold a lock.
        return await self._writer.run(work)

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._reader.run(work)

    async def glance(self, query: Callable[[sa.Connection], T]) -> T:
        return await self._reader.run(query)

    async def ping(self) -> None:
        await self._reader.run(lambda connection: connection.exec_driver_sql("SELECT 1").scalar_one())

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()


def _prepare(connection: Any, _record: Any) -> None:
    # SQLAlchemy says BEGIN itself (see `_on_begin`); the driver must not add its own.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _forbid_writing(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only = ON")
