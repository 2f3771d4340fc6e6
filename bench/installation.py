"""A platform to measure, in its production shape, and what can be seen of it from outside."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import sqlalchemy as sa

from bench.customers import Customers
from orderwright.cli.goods import products
from orderwright.kernel.database import open_database
from orderwright.services import SERVICES
from orderwright.services.inventory.tables import stock
from orderwright.services.notification.tables import notifications
from orderwright.services.order.domain import FactType
from orderwright.services.order.tables import order_events, orders
from tools.fleet import SEPARATE, TOGETHER, Fleet, running

PLENTY = 10_000_000
ENDS = ("completed", "cancelled")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SETTINGS = {
    # Limits protect a shop from its callers; here all orders come from one.
    "ORDERWRIGHT_GATEWAY_CALLER_PER_MINUTE": "0",
    "ORDERWRIGHT_GATEWAY_ADDRESS_PER_MINUTE": "0",
    "ORDERWRIGHT_LOG_LEVEL": "info",
    "ORDERWRIGHT_LOG_FORMAT": "json",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What is measured: the servers, and how the services are spread over processes."""

    name: str
    broker: str
    database: str
    """`postgres` or `sqlite`."""
    together: bool = False
    copies: int = 1


class Installation:
    """A running platform."""

    def __init__(self, fleet: Fleet, database: str, logins: dict[str, dict[str, str]]) -> None:
        self.fleet = fleet
        self.database = database
        self._logins = logins

    async def customers(self, *, lines: int = 2, only: Sequence[str] = ()) -> Customers:
        """Customers who are logged in."""
        sold = list(only) or [product.id for product in products("USD")]
        made = Customers(self.fleet.address("gateway"), self._logins["customer"], sold, lines=lines)
        await made.log_in()
        return made

    async def fill_shelves(self) -> None:
        """Put in more of everything than can be sold."""
        stocked = sa.select(sa.func.count()).select_from(stock)
        while await self._count("inventory", stocked) < len(products("USD")):
            await asyncio.sleep(0.1)
        more = sa.update(stock).values(on_hand=stock.c.on_hand + PLENTY, received=stock.c.received + PLENTY)
        await self._on("inventory", more)

    async def until_at_rest(self, *, timeout_s: float = 300) -> None:
        """Wait until every order has ended and every confirmation is written. TimeoutError."""
        open_ones = sa.select(sa.func.count()).where(orders.c.status.not_in(ENDS))
        done = sa.select(sa.func.count()).where(orders.c.status == "completed")
        told = sa.select(sa.func.count(notifications.c.order_id.distinct())).where(
            notifications.c.type == "order_confirmation"
        )
        async with asyncio.timeout(timeout_s):
            while await self._count("order", open_ones) or (
                await self._count("order", done) > await self._count("notification", told)
            ):
                await asyncio.sleep(0.1)

    async def ended_at(self, since_s: float) -> dict[str, float]:
        """When each order was completed that was completed since then, by its id."""
        query = sa.select(order_events.c.order_id, order_events.c.created_at).where(
            order_events.c.event_type == FactType.COMPLETED.value,
            order_events.c.created_at >= datetime.fromtimestamp(since_s, UTC),
        )
        database = open_database(self.database, "order")
        rows = await database.read(lambda connection: connection.execute(query).all())
        await database.close()
        return {row.order_id: row.created_at.timestamp() for row in rows}

    def audited(self) -> dict[str, object]:
        """What `orderwright reconcile` says."""
        command = [sys.executable, "-m", "orderwright.cli.main", "reconcile", "--json"]
        done = subprocess.run(
            command, env={**os.environ, **self.fleet.environment}, capture_output=True, text=True, check=False
        )
        report: dict[str, object] = {"exit": done.returncode}
        if done.stdout.strip().startswith("{"):
            report |= json.loads(done.stdout)
        return report

    def usage(self) -> dict[str, tuple[float, float]]:
        """Seconds of CPU and megabytes of memory of each process so far."""
        return {member.name: _usage(member.pid) for member in self.fleet.members}

    async def _count(self, service: str, query: "sa.Select[tuple[int]]") -> int:
        database = open_database(self.database, service)
        try:
            return await database.read(lambda connection: connection.execute(query).scalar_one())
        finally:
            await database.close()

    async def _on(self, service: str, statement: sa.Update) -> None:
        database = open_database(self.database, service)
        await database.write(lambda connection: connection.execute(statement))
        await database.close()


@contextmanager
def installed(shape: Shape, folder: Path, urls: Mapping[str, str]) -> Iterator[Installation]:
    """A platform of that shape, with goods and people in it."""
    name = f"bench{secrets.token_hex(3)}"
    database = f"sqlite:///{folder}"
    if shape.database == "postgres":
        database = f"{urls['ORDERWRIGHT_TEST_POSTGRES_URL'].rpartition('/')[0]}/{name}"
    broker = "memory://"
    if shape.broker != "memory":
        broker = f"{urls[f'ORDERWRIGHT_TEST_{shape.broker.upper()}_URL']}?prefix={name}."
    fleet = Fleet(
        folder,
        database,
        broker,
        groups=TOGETHER if shape.together else SEPARATE,
        copies=shape.copies,
        settings=SETTINGS,
    )
    try:
        with running(fleet):
            yield Installation(fleet, database, fleet.load_demo())
            fleet.stop()
    finally:
        if shape.database == "postgres":
            asyncio.run(_drop(database))


async def _drop(database: str) -> None:
    server, _, name = database.rpartition("/")
    connection = await asyncpg.connect(f"{server}/postgres")
    for service in (*SERVICES, "sandbox"):
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}_{service}" WITH (FORCE)')
    await connection.close()


def _usage(pid: int) -> tuple[float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND, int(memory.split()[1]) / 1024
