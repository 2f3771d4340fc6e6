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
import structlog
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn

from orderwright.kernel.databases.direct import Statements
from orderwright.kernel.databases.gathering import GatheringConnection
from orderwright.kernel.databases.optimistic import OptimisticConnection
from orderwright.kernel.errors import ConfigurationError, DatabaseMissing, DatabaseUnavailable, NeedsLocks

log = structlog.get_logger(__name__)

T = TypeVar("T")

CONNECTIONS = 5
"""Connections of one service in one process; `?connections=` in the URL says otherwise."""
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
ATTEMPTS = 8
OVERTAKEN: Final = ("23", "22P02")
"""How a statement fails that expected something else to be there: by a constraint, or by its own choice."""
CONFLICTS: Final = frozenset({"40001", "40P01"})
"""serialization_failure and deadlock_detected: nothing was done, and doing it again is right."""
OUTAGES: Final = ("08", "53", "57P", "58", "3D000")
"""Connection, resources, shutdown, the disk, no database (https://www.postgresql.org/docs/15/errcodes-appendix.html)."""
INTERNAL: Final = "XX000"
"""internal_error: while a connection is made it is the server's trouble ("could not write init file": a full disk).
After that it may be about the statement, which nobody should wait for to get better."""
STANDBY: Final = "25006"
"""read_only_sql_transaction: an outage where we meant to write, and our own fault where we meant to read."""


class PostgresDatabase:
    """The database `<name>_<service>` of `postgresql://host/<name>`, or what `{service}` in the URL makes of it."""

    exclusive = False

    def __init__(self, url: str, service: str) -> None:
        self.url, options = _target(url, service)
        self._connect = _connect_args(service, options)
        self._engine = _engine(self.url, self._connect, options)
        self._statements = Statements()
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # Without BEGIN and COMMIT, which are two more round trips.
        self._glancing = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._running: set[asyncio.Task[Any]] = set()

    async def create(self) -> None:
        """Make the database, unless it is there; making it needs CREATEDB."""
        refused: Exception | None = None
        # It is looked for from elsewhere: a PgBouncer that met a missing database once refuses it for a while.
        for maintenance in ("postgres", "template1"):
            try:
                return await self._create_from(maintenance)
            except Exception as error:
                refused = error
        try:
            await self.ping()
        except DatabaseMissing as error:
            raise ConfigurationError(
                f"There is no database {self.url.database}, and it could not be made: {_told(refused or error)}. Make "
                "it by hand, or let the account make databases (CREATEDB) and run `orderwright migrate`"
            ) from refused

    async def write(self, work: Callable[[sa.Connection], T], *, optimistic: bool = False) -> T:
        transact = self._transact_optimistically(work) if optimistic else self._transact(self._engine, work)
        return await self._to_the_end(transact)

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._to_the_end(self._transact(self._reading, work))

    async def glance(self, query: Callable[[sa.Connection], T]) -> T:
        return await self._to_the_end(self._transact(self._glancing, query))

    async def ping(self) -> None:
        await self.glance(lambda connection: connection.exec_driver_sql("SELECT 1").scalar_one())

    async def close(self) -> None:
        while self._running:
            await asyncio.wait(list(self._running))
        await greenlet_spawn(self._engine.dispose)

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

    async def _transact_optimistically(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            return await self._transact(self._glancing, work, OptimisticConnection)
        except NeedsLocks as reason:
            log.debug("done_again_with_locks", database=self.url.database, reason=str(reason))
            return await self._transact(self._engine, work)

    async def _transact(
        self,
        engine: sa.Engine,
        work: Callable[[sa.Connection], T],
        kind: type[GatheringConnection] = GatheringConnection,
    ) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                # One greenlet for all of it: asyncio's own methods of SQLAlchemy start one for each step.
                return await greenlet_spawn(self._carry_out, engine, work, kind)
            except Exception as error:
                state = _sqlstate(error)
                if kind is OptimisticConnection and state.startswith(OVERTAKEN):
                    raise NeedsLocks(f"Somebody was quicker: {_told(error)}") from error
                if state in CONFLICTS and attempt < ATTEMPTS:
                    continue
                became_standby = state == STANDBY and (engine is self._engine or kind is OptimisticConnection)
                if state in CONFLICTS or became_standby or _is_outage(error, state):
                    outage = DatabaseMissing if _is_missing(error) else DatabaseUnavailable
                    raise outage(f"PostgreSQL could not carry out the work: {_told(error)}") from error
                raise

    def _carry_out(self, engine: sa.Engine, work: Callable[[sa.Connection], T], kind: type[GatheringConnection]) -> T:
        try:
            connection = kind(engine, self._statements)
        except Exception as error:
            if _sqlstate(error) == INTERNAL:
                raise DatabaseUnavailable(f"PostgreSQL takes no connection: {_told(error)}") from error
            raise
        with connection, connection.begin():
            result = work(connection)
            connection.catch_up(at_the_end=True)
            return result

    async def _create_from(self, maintenance: str) -> None:
        database = self.url.database or ""
        quoted = '"' + database.replace('"', '""') + '"'
        engine = create_async_engine(
            self.url.set(database=maintenance),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args=self._connect,
        )
        try:
            async with engine.connect() as connection:
                known = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")
                if (await connection.execute(known, {"name": database})).first() is None:
                    await connection.exec_driver_sql(f"CREATE DATABASE {quoted}")
        except Exception as error:
            # Another process may have made it at the same moment.
            if _sqlstate(error) not in {"42P04", "23505"}:
                raise
        finally:
            await engine.dispose()


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


def _connect_args(service: str, options: dict[str, str]) -> dict[str, Any]:
    connect: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": COMMAND_TIMEOUT_S,
        "server_settings": {"application_name": f"orderwright {service}", "jit": "off"},
    }
    if options.get("pgbouncer", "").lower() in {"1", "true", "yes"}:
        # In transaction mode the next transaction may be on another server connection, which knows no statement of
        # this one's; and PgBouncer takes no settings that it cannot keep apart.
        connect |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0, "server_settings": {}}
    return connect


def _engine(url: sa.URL, connect: dict[str, Any], options: dict[str, str]) -> sa.Engine:
    try:
        size = int(options.get("connections", CONNECTIONS))
    except ValueError:
        raise ConfigurationError(f"?connections={options['connections']} is no number") from None
    engine = create_async_engine(
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
    sa.event.listen(engine.sync_engine, "handle_error", _give_up_silent)
    return engine.sync_engine


def _give_up_silent(context: sa.engine.ExceptionContext) -> None:
    """After a timeout leave all connections that were opened before it, not only the one on which nothing came.

    What silenced one, such as a firewall that forgot them, silenced the others too. Kept, each would let one more
    caller wait for a whole timeout.
    """
    if isinstance(context.original_exception, TimeoutError):
        context.is_disconnect = context.invalidate_pool_on_disconnect = True


def _sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's code for what went wrong; empty when it was not PostgreSQL that said it."""
    original = getattr(error, "orig", None) or error
    return str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")


def _is_outage(error: Exception, state: str) -> bool:
    if isinstance(error, OSError | TimeoutError | sa.exc.TimeoutError | asyncpg.InterfaceError):
        return True
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    return state.startswith(OUTAGES)


def _is_missing(error: BaseException | None) -> bool:
    """Whether there is no such database. PgBouncer says so in words, under the code of a protocol violation."""
    state = _sqlstate(error)
    return state == "3D000" or (state == "08P01" and "does not exist" in str(error))


def _told(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {original}"
