"""A platform to measure, in its production shape, and what can be seen of it from outside."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import sqlalchemy as sa

from bench.customers import Customers
from bench.usage import Use, memory_mb
from orderwright.cli.goods import products
from orderwright.contracts import audience
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.database import open_database
from orderwright.kernel.ids import version_7
from orderwright.kernel.tables import inbox, outbox
from orderwright.services import SERVICES
from orderwright.services.inventory.tables import stock
from orderwright.services.notification.tables import notifications
from orderwright.services.order.domain import FactType
from orderwright.services.order.tables import order_events, orders
from tools.backends import leftovers
from tools.fleet import HALVES, SEPARATE, TOGETHER, Fleet, running

PLENTY = 10_000_000
WARM_UP_ORDERS = 1000
SPREADS = {"separate": SEPARATE, "halves": HALVES, "together": TOGETHER}
ENDS = ("completed", "cancelled")
BOOKS = (*SERVICES, "sandbox")
SETTINGS = {
    # Limits protect a shop from its callers; here all orders come from one.
    "ORDERWRIGHT_GATEWAY_CALLER_PER_MINUTE": "0",
    "ORDERWRIGHT_GATEWAY_ADDRESS_PER_MINUTE": "0",
    "ORDERWRIGHT_LOG_LEVEL": "info",
    "ORDERWRIGHT_LOG_FORMAT": "json",
}


async def maintain(database: str, statement: str) -> None:
    """Have PostgreSQL do now in one database what it does by itself some day: count, clean up, write to the disk."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Shape:
    """What is measured: the servers, and how the services are spread over processes."""

    name: str
    broker: str
    database: str
    """`postgres` or `sqlite`."""
    spread: str = "separate"
    """One of SPREADS."""
    copies: int = 1


class Installation:
    """A running platform."""

    def __init__(self, shape: Shape, fleet: Fleet, database: str, logins: dict[str, dict[str, str]]) -> None:
        self.shape = shape
        self.fleet = fleet
        self.database = database
        self._logins = logins

    @property
    def servers(self) -> list[str]:
        """The servers that it stands on, by their names among those for tests."""
        return [name for name in (self.shape.database, self.shape.broker) if name not in {"sqlite", "memory"}]

    async def customers(
        self, *, lines: int = 2, only: Sequence[str] = (), past_the_gateway: bool = False, keys: bool = True
    ) -> Customers:
        """Customers who are logged in."""
        sold = list(only) or [product.id for product in products("USD")]
        service = self.fleet.address("order") if past_the_gateway else None
        gateway = self.fleet.address("gateway")
        made = Customers(gateway, self._logins["customer"], sold, lines=lines, service=service, keys=keys)
        await made.log_in()
        return made

    async def add_products(self, count: int) -> list[str]:
        """Take new products in, as staff do; answers their ids."""
        clerk = Customers(self.fleet.address("gateway"), self._logins["staff"], [])
        await clerk.log_in()
        ids = [f"many-{number:04d}" for number in range(count)]
        for id_ in ids:
            await clerk.take_in(id_, quantity=PLENTY)
        return ids

    async def fill_shelves(self) -> None:
        """Put in more of everything than can be sold."""
        stocked = sa.select(sa.func.count()).select_from(stock)
        while await self._count("inventory", stocked) < len(products("USD")):
            await asyncio.sleep(0.1)
        more = sa.update(stock).values(on_hand=stock.c.on_hand + PLENTY, received=stock.c.received + PLENTY)
        await self._on("inventory", more)

    async def warm_up(self) -> None:
        """Have some orders done before anything is measured."""
        customers = await self.customers()
        sent = await customers.as_fast_as_answered(WARM_UP_ORDERS, at_once=32)
        await self.until_at_rest(sent.began_s)
        await self.analyze()

    async def analyze(self) -> None:
        """Have PostgreSQL know its tables as after its first minute (`autovacuum_naptime`).

        Until then it takes them for empty ones and reads the whole of each.
        """
        await self._maintain("ANALYZE", BOOKS)

    async def settle(self) -> None:
        """Have PostgreSQL do at once what it does by itself in the minutes after much was written.

        Otherwise autovacuum's look at a million new rows, and their way to the disk, are measured with what comes next.
        """
        await self._maintain("VACUUM (ANALYZE)", BOOKS)
        # It is of the whole server.
        await self._maintain("CHECKPOINT", BOOKS[:1])

    async def until_at_rest(self, since_s: float, *, timeout_s: float = 300) -> None:
        """Wait until every order that was placed since then has ended and its confirmation is written. TimeoutError.

        What stood there before is not looked at: to count a million orders costs more than to place a thousand.
        """
        first = version_7(int(since_s * 1000))
        placed = sa.select(sa.func.count()).where(orders.c.id >= first)
        open_ones, done = placed.where(orders.c.status.not_in(ENDS)), placed.where(orders.c.status == "completed")
        told = sa.select(sa.func.count(notifications.c.order_id.distinct())).where(
            notifications.c.order_id >= first, notifications.c.type == "order_confirmation"
        )
        async with asyncio.timeout(timeout_s):
            while await self._count("order", open_ones) or (
                await self._count("order", done) > await self._count("notification", told)
            ):
                await asyncio.sleep(0.1)

    async def ended_at(self, since_s: float) -> dict[str, float]:
        """When each order was completed that was placed since then, by its id."""
        query = sa.select(order_events.c.order_id, order_events.c.created_at).where(
            order_events.c.event_type == FactType.COMPLETED.value,
            order_events.c.order_id >= version_7(int(since_s * 1000)),
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
        """Seconds of CPU so far, and megabytes of memory, of each process."""
        return {member.name: (Use.of(member.pid).cpu_s, memory_mb(member.pid)) for member in self.fleet.members}

    async def backlog(self) -> dict[str, int]:
        """How many messages wait at the broker for each service."""
        async with open_broker(self.fleet.broker_url) as broker:
            return {service: left.count for service, left in (await broker.backlog(audience())).items()}

    async def passing_rows(self) -> int:
        """Rows of what is there for a while only: outboxes and inboxes, of all services."""
        counts = [
            await self._count(service, sa.select(sa.func.count()).select_from(table))
            for service in SERVICES
            for table in (outbox, inbox)
        ]
        return sum(counts)

    async def _maintain(self, statement: str, services: Sequence[str]) -> None:
        for service in services if self.shape.database == "postgres" else ():
            await maintain(f"{self.database}_{service}", statement)

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
def installed(
    shape: Shape, folder: Path, urls: Mapping[str, str], settings: Mapping[str, str] | None = None
) -> Iterator[Installation]:
    """A platform of that shape, with goods and people in it, and `settings` beside those of every bench."""
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
        groups=SPREADS[shape.spread],
        copies=shape.copies,
        settings={**SETTINGS, **(settings or {})},
    )
    try:
        with running(fleet):
            yield Installation(shape, fleet, database, fleet.load_demo())
            fleet.stop()
    finally:
        if shape.database == "postgres":
            _by_itself(_drop(database))
        if shape.broker != "memory":
            _by_itself(leftovers.remove(broker))


def _by_itself(work: Coroutine[None, None, None]) -> None:
    """Do it in a thread of its own, because a loop may run in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def _drop(database: str) -> None:
    server, _, name = database.rpartition("/")
    connection = await asyncpg.connect(f"{server}/postgres")
    for service in (*SERVICES, "sandbox"):
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}_{service}" WITH (FORCE)')
    await connection.close()
