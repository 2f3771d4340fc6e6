"""Every service's database, opened beside whoever else works on it, and only read.

Invariant: nothing is made and nothing is changed here. A database that is not there, or has another schema than this
version of the code, cannot be audited: CannotRead says which, and what to do.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Self, TypeVar

import sqlalchemy as sa

from orderwright.kernel.database import Database, open_database, sqlite_folder
from orderwright.kernel.errors import DatabaseUnavailable, OrderwrightError
from orderwright.kernel.migrations import current_revision, newest_revision

T = TypeVar("T")

AUDITED = ("order", "payment", "inventory", "shipping", "notification", "cart", "catalog")
"""Identity's accounts are nobody else's business."""
SANDBOX = "sandbox"


class CannotRead(OrderwrightError):
    """The books could not be read, so nothing is known of them."""


class Books:
    """The databases of all services, and the sandbox provider's own where it takes the money."""

    def __init__(self, url: str, *, sandbox: bool) -> None:
        self._url = url
        self._names = (*AUDITED, SANDBOX) if sandbox else AUDITED
        self._databases: dict[str, Database] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            for name in self._names:
                await self._open(name)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def provider_known(self) -> bool:
        """Whether the provider's own books are among these."""
        return SANDBOX in self._databases

    async def read(self, service: str, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` on a snapshot of that service's database. CannotRead when it does not answer."""
        try:
            return await self._databases[service].read(work)
        except (DatabaseUnavailable, sa.exc.SQLAlchemyError) as error:
            raise CannotRead(f"The {service} database could not be read: {error}") from error

    async def _open(self, name: str) -> None:
        if self._url.startswith("sqlite:"):
            path = sqlite_folder(self._url) / f"{name}.db"
            # Opening what is not there would make it.
            if not path.exists():
                raise CannotRead(f"There is no {path}; name the data with ORDERWRIGHT_DATA_DIR or _DATABASE_URL")
        database = open_database(self._url, name)
        self._databases[name] = database
        self._stack.push_async_callback(database.close)
        if name == SANDBOX:
            await self.read(name, _sandbox_has_books)
            return
        revision, newest = await self.read(name, current_revision), newest_revision(_migrations(name))
        if revision != newest:
            raise CannotRead(
                f"The {name} database is at revision {revision}, this version reads {newest}; run `orderwright migrate`"
            )


def _sandbox_has_books(connection: sa.Connection) -> None:
    if not sa.inspect(connection).has_table("charges"):
        raise CannotRead("The sandbox's database has no books; has the payment service ever been started?")


def _migrations(service: str) -> Path:
    spec = find_spec(f"orderwright.services.{service}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "migrations"
