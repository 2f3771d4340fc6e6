"""The database port: a service's own database, and work that runs inside one of its transactions.

Work is a plain function of a connection. On SQLite it runs in the one thread that owns the file, a single hop for a
whole transaction; on PostgreSQL it runs on an asynchronous connection. Because it cannot await, no call to the outside
world can ever happen inside a transaction.

Invariant: `write` returns after COMMIT or raises after ROLLBACK, also when the caller that waited for it was cancelled.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa

from orderwright.kernel.errors import ConfigurationError

T = TypeVar("T")

SCHEMES = {
    "postgresql": "orderwright.kernel.databases.postgres:PostgresDatabase",
    "sqlite": "orderwright.kernel.databases.sqlite:SqliteDatabase",
}


class Database(Protocol):
    """One service's database."""

    exclusive: bool
    """This process is the only one that writes here, so what it finds at its start was left behind by a crash."""

    async def create(self) -> None:
        """Make the database where there is none yet. DatabaseUnavailable; ConfigurationError when it may not."""

    async def write(self, work: Callable[[sa.Connection], T], *, optimistic: bool = False) -> T:
        """Run `work` in a transaction. DatabaseUnavailable when the database does not answer.

        If it is `optimistic`, `work` may be given an OptimisticConnection first, where that is quicker, and is run
        again with locks when it, or its last statement, says NeedsLocks.
        """

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` on a consistent snapshot that it must not change."""

    async def glance(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query`, which is one statement and changes nothing: it sees one moment without a transaction."""

    async def ping(self) -> None:
        """DatabaseUnavailable when the database does not answer."""

    async def close(self) -> None:
        """Let go of every connection."""


def open_database(url: str, service: str) -> Database:
    """The database of `service` under `url`: each service has its own.

    `sqlite:///folder` keeps one file a service in that folder. `postgresql://user:password@host/name` keeps the
    databases `name_<service>`; a name with `{service}` in it is taken as it is.
    """
    scheme = urlsplit(url).scheme
    try:
        module, _, name = SCHEMES[scheme].partition(":")
    except KeyError:
        known = ", ".join(f"{known}://" for known in sorted(SCHEMES))
        raise ConfigurationError(f"The database URL begins with {scheme!r}; known are {known}") from None
    database: Database = getattr(import_module(module), name)(url, service)
    return database


def sqlite_folder(url: str) -> Path:
    """The folder that a `sqlite:///…` URL names."""
    path = urlsplit(url).path
    if not path.startswith("/"):
        raise ConfigurationError(f"{url!r} names no folder; write sqlite:////absolute/folder or sqlite:///relative")
    return Path(path[1:])


def wait_for_other_migrations(connection: sa.Connection) -> None:
    """Let one process at a time change a schema, until its transaction ends; on SQLite BEGIN IMMEDIATE does that."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7031971)")
