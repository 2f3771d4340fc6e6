"""What an operator does: migrate, make accounts, rebuild orders; dead letters have a file of their own.

It works on the databases themselves, beside a running platform or without one; whatever it changes is changed in one
transaction, and a running platform takes it up by itself.
"""

import asyncio
import getpass
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from orderwright.cli import goods
from orderwright.cli.console import open_console
from orderwright.cli.plan import load
from orderwright.kernel.clock import Clock, SystemClock
from orderwright.kernel.database import Database, open_database
from orderwright.kernel.errors import ConfigurationError, NotFound
from orderwright.kernel.feed import Feed
from orderwright.kernel.ids import SystemIds
from orderwright.kernel.migrations import check_migrated, migrate, newest_revision
from orderwright.kernel.recent import KEEP_FOR_S
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.unit import UnitOfWork, Units
from orderwright.services import SERVICES
from orderwright.services.identity import store as identity
from orderwright.services.identity.actions import accounts, keys
from orderwright.services.identity.domain import check_password
from orderwright.services.identity.settings import IdentitySettings
from orderwright.services.order import store as orders
from orderwright.services.order.actions import rebuild_projection

T = TypeVar("T")

FORGOTTEN_AFTER_S = KEEP_FOR_S + 5
"""By then nobody remembers an order as it was, and what began while somebody did has ended."""

# A console holds no state of ours; it is where this module prints.
console = open_console()


@asynccontextmanager
async def opened(service: str) -> AsyncIterator[Database]:
    """A service's database, with the schema that this version needs. ConfigurationError when it has another."""
    database = open_database(PlatformSettings().effective_database_url, service)
    try:
        await check_migrated(database, migrations_of(service))
        yield database
    finally:
        await database.close()


async def migrate_all(service: str | None) -> None:
    """Bring databases to the newest schema."""
    settings = PlatformSettings()
    for name in chosen(service):
        database = open_database(settings.effective_database_url, name)
        try:
            changed = await migrate(database, migrations_of(name))
        finally:
            await database.close()
        console.print(f"{name:<14}{'migrated' if changed else 'up to date'} ({newest_revision(migrations_of(name))})")


async def load_demo(settings: PlatformSettings) -> dict[str, dict[str, str]]:
    """Put the demo's goods and people into the databases; running services take them up within seconds."""
    async with opened("catalog") as catalog, opened("identity") as identity_database:
        return await goods.fill(settings, units_of("catalog", catalog), units_of("identity", identity_database))


async def add_account(email: str, roles: Sequence[str]) -> None:
    """Make an account; the password comes from the keyboard or from standard input, never from the command line."""
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    check_password(password, email)
    if len(password) < 8:
        raise ConfigurationError("A password has at least 8 characters")
    password_hash = await asyncio.to_thread(accounts.hash_password, password, IdentitySettings())
    account = await _in_identity(
        partial(accounts.create_account, email=email.lower(), password_hash=password_hash, roles=roles)
    )
    console.print(f"{account.id}  {account.email}  {', '.join(account.roles)}")


async def set_account_roles(email: str, roles: Sequence[str]) -> None:
    """Give an account exactly these roles."""

    def work(uow: UnitOfWork) -> Sequence[str]:
        known = identity.credentials(uow.connection, email.lower())
        if known is None:
            raise NotFound(f"There is no account {email}")
        return accounts.set_roles(uow, known[0].id, roles).roles

    console.print(f"{email}  {', '.join(await _in_identity(work))}")


async def list_accounts() -> None:
    """Print accounts."""
    async with opened("identity") as database:
        found = await database.read(partial(identity.listed, text=None, after=None, limit=1000))
    for account in found:
        disabled = "  disabled" if account.disabled else ""
        console.print(f"{account.id}  {account.email:<32}{', '.join(account.roles)}{disabled}")


async def issue_token(name: str, role: str, days: int) -> None:
    """Print a token for an integration; it is shown once and kept nowhere."""
    lifetime = timedelta(days=days)
    token = await _in_identity(partial(keys.issue, subject=name, roles=[role], lifetime=lifetime))
    sys.stdout.write(f"{token}\n")


async def rotate_signing_keys() -> None:
    """Sign with a new key from now on."""
    key_id = await _in_identity(partial(keys.rotate, settings=IdentitySettings()))
    console.print(f"Tokens are signed with {key_id} in ten seconds, when everybody can know it.")


async def rebuild_all_orders(clock: Clock) -> None:
    """Make every order's projections anew from its history, each in a transaction of its own.

    Those that were wrong on their way are looked at until nobody can remember them so and write them so any more.
    """
    count, before = 0, None
    async with opened("order") as database:
        units = units_of("order", database)

        async def still_wrong(order_ids: Iterable[str]) -> list[str]:
            return [id_ for id_ in order_ids if await units.run(partial(rebuild_projection, order_id=id_))]

        wrong: list[str] = []
        while page := await database.read(partial(orders.listed, filters={}, before=before, limit=200)):
            wrong += await still_wrong(order.id for order in page)
            count, before = count + len(page), page[-1].id
        while wrong:
            console.print(f"{len(wrong)} orders were wrong and are on their way; they are looked at again in a minute.")
            await clock.sleep(FORGOTTEN_AFTER_S)
            wrong = await still_wrong(wrong)
    console.print(f"{count} orders are what their histories say.")


def migrations_of(service: str) -> Path:
    """Where a service's migrations are."""
    module = load(SERVICES[service]).__module__
    return Path(sys.modules[module].__file__ or "").parent / "migrations"


async def _in_identity(work: Callable[[UnitOfWork], T]) -> T:
    async with opened("identity") as database:
        return await units_of("identity", database).run(work)


def units_of(service: str, database: Database) -> Units:
    """What is said in them is sent by whoever runs the service: nothing is sent from here."""
    units = Units(service, database, SystemClock(), SystemIds(), Feed())
    units.sends_at_once = lambda: False
    return units


def chosen(service: str | None) -> list[str]:
    """That service, or all of them. ConfigurationError when there is none of that name."""
    if service is not None and service not in SERVICES:
        raise ConfigurationError(f"There is no service {service!r}; there are {', '.join(SERVICES)}")
    return [service] if service else list(SERVICES)
