"""Databases that live through crashes, and connections to them that fail: at any statement, at COMMIT, and after it.

Real SQL on SQLite in memory, run inline: the adapter's thread is the one part that cannot be replayed. Invariants, as
of the port: `write` returns after COMMIT or raises; a transaction is whole or not at all; a dead process changes
nothing any more.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from orderwright.kernel.databases.direct import DirectConnection, Statements
from orderwright.kernel.errors import DatabaseUnavailable
from tests.simulation.faults import Faults
from tests.simulation.hosts import Process
from tests.simulation.trace import Trace

T = TypeVar("T")


class _DiskConnection(DirectConnection):
    direct = True
    """Whether statements that come again take the short way."""
    at_statement: Callable[[], None] | None = None
    """Called before each statement; raises where it is to fail."""

    def execute(self, statement: Any, parameters: Any = None, **more: Any) -> Any:
        if self.at_statement is not None:
            self.at_statement()
        if not self.direct:
            return sa.Connection.execute(self, statement, parameters, **more)
        return super().execute(statement, parameters, **more)


class Disk:
    """One service's database. Made once a process of the operating system, set back for every seed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.driver = sqlite3.connect(":memory:", isolation_level=None)
        self.driver.execute("PRAGMA foreign_keys = ON")
        self.driver.execute("PRAGMA synchronous = OFF")
        self._kept = sqlite3.connect(":memory:")
        engine = sa.create_engine(
            "sqlite://",
            creator=lambda: self.driver,
            poolclass=sa.pool.StaticPool,
            json_serializer=lambda value: msgspec.json.encode(value).decode(),
            json_deserializer=msgspec.json.decode,
        )
        self.connection = _DiskConnection(engine, Statements())
        # Never ended: transactions are the driver's (see `SimDatabase`), which costs a tenth of SQLAlchemy's.
        self.connection.begin()

    def keep(self) -> None:
        """What is on it now is what it will be set back to."""
        self.driver.backup(self._kept)

    def set_back(self) -> None:
        """Have it contain what was kept and nothing else."""
        self.connection.at_statement = None
        # Not `deserialize`: a statement on `json_each` that was prepared before it kills the process (SQLite 3.40).
        self._kept.backup(self.driver)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a plain SQL query finds, outside of every process."""
        found: list[tuple[Any, ...]] = self.driver.execute(query, parameters).fetchall()
        return found


class SimDatabase:
    """A process's connection to its disk."""

    def __init__(
        self,
        disk: Disk,
        process: Process | None,
        faults: Faults,
        trace: Trace,
        *,
        exclusive: bool,
        thorough: bool = False,
    ) -> None:
        self.disk = disk
        self.exclusive = exclusive
        self.up_to_date = not thorough
        """Whether it is taken to have the newest schema."""
        self._thorough = thorough
        self._process = process
        self._faults = faults
        self._trace = trace

    async def create(self) -> None:
        """It is there."""

    async def write(self, work: Callable[[sa.Connection], T], *, optimistic: bool = False) -> T:
        return await self._run(work, writes=True)

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._run(work, writes=False)

    async def glance(self, query: Callable[[sa.Connection], T]) -> T:
        return await self._run(query, writes=False)

    async def ping(self) -> None:
        await self.read(lambda connection: connection.exec_driver_sql("SELECT 1"))

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _run(self, work: Callable[[sa.Connection], T], *, writes: bool) -> T:
        faults = self._faults
        # Where the caller may be cancelled or die: before the work begins, never half-way.
        if faults.strikes("db is slow"):
            await asyncio.sleep(faults.dice("db is slow").expovariate(0.3))
        else:
            await asyncio.sleep(0)
        if self._process is not None:
            self._process.must_live()
        if faults.strikes("db refuses"):
            raise self._outage("refuses")
        result = self._transact(work, writes=writes)
        # And after it, when the answer is on its way.
        if writes and faults.strikes("db is slow"):
            await asyncio.sleep(faults.dice("db is slow").expovariate(0.3))
        return result

    def _transact(self, work: Callable[[sa.Connection], T], *, writes: bool) -> T:
        disk, faults, process = self.disk, self._faults, self._process
        faulty = process is not None and faults.on
        disk.connection.direct = not self._thorough
        disk.driver.execute("BEGIN")
        try:
            disk.connection.at_statement = self._at_statement if faulty else None
            try:
                result = work(disk.connection)
            finally:
                disk.connection.at_statement = None
            if writes and faulty:
                self._before_commit()
            disk.driver.execute("COMMIT")
        except BaseException:
            disk.driver.execute("ROLLBACK")
            raise
        if writes and faulty:
            self._after_commit()
        return result

    def _at_statement(self) -> None:
        assert self._process is not None
        if self._faults.strikes("db fails at a statement"):
            raise self._outage("fails at a statement")
        if self._faults.strikes("crash at a statement"):
            self._process.die("at a statement")

    def _before_commit(self) -> None:
        assert self._process is not None
        if self._faults.strikes("db fails at commit"):
            raise self._outage("fails at commit")
        if self._faults.strikes("crash before commit"):
            self._process.die("before commit")

    def _after_commit(self) -> None:
        assert self._process is not None
        if self._faults.strikes("crash after commit"):
            self._process.die("after commit")
        if self._faults.strikes("db commits and does not say so"):
            raise self._outage("commits and does not say so")

    def _outage(self, how: str) -> DatabaseUnavailable:
        who = self._process.name if self._process is not None else self.disk.name
        self._trace.say(who, f"db {how}")
        self._trace.reach(f"fault: db {how}")
        return DatabaseUnavailable(f"The database {how}")
