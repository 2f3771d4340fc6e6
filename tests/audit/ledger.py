"""The books of a shop after a day, at rest: to be changed by hand in one place, audited, and put back as they were."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orderwright.audit.auditor import Auditor, Pause
from orderwright.audit.books import AUDITED, SANDBOX
from orderwright.audit.findings import Report
from orderwright.audit.settings import AuditSettings
from orderwright.kernel.clock import FrozenClock, SystemClock
from orderwright.kernel.database import open_database
from orderwright.services.inventory.tables import products
from orderwright.services.payment.providers.sandbox import charges
from tests.audit.traffic import Story, a_day
from tests.databases import fresh_databases
from tests.shop import DEADLINE_S, Shop, open_shop

Rows = Mapping[sa.Table, Sequence[dict[str, Any]]]


@dataclass
class Ledger:
    """Databases at rest, and what happened in them."""

    url: str
    story: Story
    untouched: Mapping[str, Rows]
    """All that every service kept at the end of the day."""
    changed: set[str] = field(default_factory=set)

    async def change(self, service: str, statement: sa.Executable, *, unchecked: tuple[str, str] | None = None) -> None:
        """Change a row of a service, past a constraint (table, name) where the database would refuse."""
        self.changed.add(service)

        def work(connection: sa.Connection) -> int:
            if unchecked and connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            elif unchecked:
                connection.exec_driver_sql(f"ALTER TABLE {unchecked[0]} DROP CONSTRAINT {unchecked[1]}")
            return connection.execute(statement).rowcount

        assert await _write(self.url, service, work) == 1, "a breach is one row"

    async def ask(self, service: str, query: sa.Select[Any]) -> Any:
        """One value out of a service's database."""
        return await _write(self.url, service, lambda connection: connection.execute(query).scalar_one())

    async def audit(
        self, *, histories: int = 1, page: int = 4, provider: str = SANDBOX, pause: Pause | None = None
    ) -> Report:
        """What an auditor finds who comes two minutes after the last change, and reads a few orders at a time."""
        clock = FrozenClock(datetime.now(UTC) + timedelta(minutes=2))
        settings = AuditSettings(histories=histories, page=page)
        return await Auditor(self.url, settings, clock, provider=provider, pause=pause).run()

    async def put_back(self) -> None:
        """Make what was changed what it was."""
        for service in sorted(self.changed):
            rows = self.untouched[service]

            def work(connection: sa.Connection, rows: Rows = rows) -> None:
                for table in reversed(list(rows)):
                    connection.execute(sa.delete(table))
                for table, kept in rows.items():
                    if kept:
                        connection.execute(sa.insert(table), list(kept))

            await _write(self.url, service, work)
        self.changed.clear()


@contextmanager
def day_in_a_shop(kind: str, folder: Path) -> Iterator[Ledger]:
    """The books of a day, made once."""
    with fresh_databases(kind, folder) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORDERWRIGHT_DATABASE_URL", url)
            # On a slow machine an order is told later that its goods are set aside, and that is no matter here.
            patch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "9")
            story = asyncio.run(_run_a_day(url, folder))
        yield Ledger(url, story, asyncio.run(_copied(url)))


async def until_at_rest(shop: Shop, url: str) -> Report:
    """Wait until an impatient auditor has nothing to say any more; answers what it says in the end."""
    auditor = Auditor(url, AuditSettings(grace_s=0, settle_s=0), SystemClock(), provider=SANDBOX)
    async with asyncio.timeout(4 * DEADLINE_S):
        while not (report := await auditor.run()).clean or report.under_way:
            await asyncio.sleep(0.2)
    return report


async def _run_a_day(url: str, folder: Path) -> Story:
    async with open_shop(folder) as shop:
        story = await a_day(shop)
        # What changed a level is told a moment later, which the auditor does not wait for.
        async with asyncio.timeout(4 * DEADLINE_S):
            while not (await until_at_rest(shop, url)).clean or await _has_levels_to_tell(url):
                await asyncio.sleep(0.2)
        await until_at_rest(shop, url)
    return story


async def _has_levels_to_tell(url: str) -> bool:
    to_tell = sa.select(products.c.product_id).where(products.c.dirty).limit(1)
    return bool(await _write(url, "inventory", lambda connection: connection.execute(to_tell).all()))


async def _copied(url: str) -> Mapping[str, Rows]:
    """Every table of every service, in an order in which they can be filled again."""
    copied: dict[str, Rows] = {}
    for service in (*AUDITED, SANDBOX):
        metadata = charges.metadata if service == SANDBOX else _metadata(service)

        def work(connection: sa.Connection, tables: sa.MetaData = metadata) -> Rows:
            return {
                table: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
                for table in tables.sorted_tables
            }

        copied[service] = await _write(url, service, work)
    return copied


def _metadata(service: str) -> sa.MetaData:
    metadata: sa.MetaData = import_module(f"orderwright.services.{service}.tables").metadata
    return metadata


async def _write(url: str, service: str, work: Any) -> Any:
    database = open_database(url, service)
    try:
        return await database.write(work)
    finally:
        await database.close()
