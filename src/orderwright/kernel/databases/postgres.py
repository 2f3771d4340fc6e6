"""PostgreSQL through asyncpg: a database for each service, several processes at work on it.

Invariants: a transaction that was begun is committed or rolled back whoever stops waiting for it. Deadlocks and
serialization failures are ours to repeat, so no caller sees them; an outage is DatabaseUnavailable, also when it is not
known whether a COMMIT was carried out, because everything that is done here may be done twice.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orderwright.kernel.errors import ConfigurationError, DatabaseUnavailable

T = TypeVar("T")

CONNECTIONS = 5
"""Connections of one service in one process; `?connections=` in the URL says otherwise."""
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
ATTEMPTS = 8
CONFLICTS: Final = frozenset({"40001", "40P01"})
"""serialization_failure and deadlock_detected: nothing was done, and doing it again is right."""
OUTAGES: Final = ("08", "53", "57P", "58", "25006")
"""Connection, resources, shutdown, the disk, a standby (https://www.postgresql.org/docs/15/errcodes-appendix.html)."""


class PostgresDatabase:
    """The database `<name>_<service>` of `postgresql://host/<name>`, or what `{service}` in the URL makes of it."""

    exclusive = False

    def __init__(self, url: str, service: str) -> None:
        self.url, options = _target(url, service)
        self._engine = _engine(self.url, service, options)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._running: set[asyncio.Task[Any]] = set()

    async def create(self) -> None:
        """Make the database. It needs CREATEDB, unless somebody made it before."""
        try:
            await self.ping()
        except DatabaseUnavailable as error:
            if _sqlstate(error.__cause__) != "3D000":
                raise
            await self._create()

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._to_the_end(self._transact(self._engine, work))

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._to_the_end(self._transact(self._reading, work))

    async def ping(self) -> None:
        await self.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar_one())

    async def close(self) -> None:
        while self._running:
            await asyncio.wait(list(self._running))
        await self._engine.dispose()

    async def _to_the_end(self, transaction: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(transaction)
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Whoever waited may be gone; then nobody else would ever look at the error.
            task.exception()

    async def _transact(self, engine: AsyncEngine, work: Callable[[sa.Connection], T]) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                async with engine.connect() as connection, connection.begin():
                    return await connection.run_sync(work)
            except Exception as error:
                state = _sqlstate(error)
                if state in CONFLICTS and attempt < ATTEMPTS:
                    continue
                if state in CONFLICTS or _is_outage(error, state):
                    raise DatabaseUnavailable(f"PostgreSQL could not carry out the work: {_told(error)}") from error
                raise

    async def _create(self) -> None:
        database = self.url.database or ""
        quoted = '"' + database.replace('"', '""') + '"'
        for maintenance in ("postgres", "template1"):
            engine = create_async_engine(
                self.url.set(database=maintenance), poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT"
            )
            try:
                async with engine.connect() as connection:
                    await connection.exec_driver_sql(f"CREATE DATABASE {quoted}")
                    return
            except Exception as error:
                # Another process may have made it at the same moment.
                if (state := _sqlstate(error)) in {"42P04", "23505"}:
                    return
                if state != "3D000":
                    raise ConfigurationError(
                        f"There is no database {database}, and it could not be made: {_told(error)}. Make it by hand, "
                        "or let the account make databases (CREATEDB) and run `orderwright migrate`"
                    ) from error
            finally:
                await engine.dispose()
        raise ConfigurationError(f"There is no database {database}, and none from which it could be made; make it")


def _target(url: str, service: str) -> tuple[sa.URL, dict[str, str]]:
    """The service's own database, and those words of the URL's query that are ours."""
    parsed = sa.make_url(url)
    if not parsed.database:
        raise ConfigurationError("The database URL names no database; write postgresql://user@host/orderwright")
    named = parsed.database
    named = named.replace("{service}", service) if "{service}" in named else f"{named}_{service}"
    ours = {name: str(parsed.query[name]) for name in ("connections", "pgbouncer") if name in parsed.query}
    rest = {name: value for name, value in parsed.query.items() if name not in ours}
    if "sslmode" in rest:
        rest["ssl"] = rest.pop("sslmode")
    return parsed.set(drivername="postgresql+asyncpg", database=named, query=rest), ours


def _engine(url: sa.URL, service: str, options: dict[str, str]) -> AsyncEngine:
    connect: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": COMMAND_TIMEOUT_S,
        "server_settings": {"application_name": f"orderwright {service}", "jit": "off"},
    }
    if options.get("pgbouncer", "").lower() in {"1", "true", "yes"}:
        # In transaction mode the next transaction may be on another server connection, which knows no statement of
        # this one's; and PgBouncer takes no settings that it cannot keep apart.
        connect |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0, "server_settings": {}}
    try:
        size = int(options.get("connections", CONNECTIONS))
    except ValueError:
        raise ConfigurationError(f"?connections={options['connections']} is no number") from None
    return create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=COMMAND_TIMEOUT_S,
        # A failed statement must not carry what was to be stored into a log.
        hide_parameters=True,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        connect_args=connect,
    )


def _sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's code for what went wrong; empty when it was not PostgreSQL that said it."""
    original = getattr(error, "orig", None) or error
    return str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")


def _is_outage(error: Exception, state: str) -> bool:
    if isinstance(error, OSError | TimeoutError | sa.exc.TimeoutError | asyncpg.InterfaceError):
        return True
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    return state.startswith(OUTAGES) or state == "3D000"


def _told(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {original}"
