"""Two copies of a service at work on the same thing at the same moment, every time and not by chance.

Both have read what they need when the first of them writes: a lock on the table that lets readers in and keeps
writers out holds them there. Only where several processes share a database can that happen, so on PostgreSQL only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from orderwright.kernel.manifest import Manifest
from orderwright.kernel.testing import ServiceBench

TOGETHER_WITHIN_S = 20.0
AT_ONCE_MS = 500
"""Less than the second after which PostgreSQL looks whether two wait for each other."""
_WAITING = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@asynccontextmanager
async def two_copies(
    manifest: Manifest, name: str, folder: Path, database_url: str
) -> AsyncIterator[tuple[ServiceBench, ServiceBench]]:
    """Two benches of one service on one database; skips where only one process may write there."""
    if not database_url.startswith("postgresql:"):
        pytest.skip("one process at a time writes to a SQLite file")
    async with (
        ServiceBench.open(manifest, name, folder, seed=1) as first,
        ServiceBench.open(manifest, name, folder, seed=2) as second,
    ):
        yield first, second


async def behind_a_handler(
    database_url: str, service: str, message_id: str, hearing: Awaitable[object], locking: str
) -> None:
    """Do `hearing` while somebody else handles that message, who then locks what it is about, and gives up."""
    async with _transaction(database_url, service) as other:
        await other.execute("INSERT INTO inbox VALUES ($1, '/bench', now())", message_id)
        task = asyncio.ensure_future(hearing)
        await _until_waiting(other, 1)
        await other.execute(f"SET LOCAL lock_timeout = '{AT_ONCE_MS}ms'")
        await other.execute(locking)
    await task


@asynccontextmanager
async def _transaction(database_url: str, service: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's transaction on a service's database; in the end it has done nothing."""
    connection = await asyncpg.connect(f"{database_url}_{service}")
    try:
        begun = connection.transaction()
        await begun.start()
        try:
            yield connection
        finally:
            await begun.rollback()
    finally:
        await connection.close()


@asynccontextmanager
async def locked(database_url: str, service: str, table: str) -> AsyncIterator[None]:
    """Meanwhile whoever touches that table waits, and is given up after a while."""
    async with _transaction(database_url, service) as other:
        await other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(TOGETHER_WITHIN_S):
            yield


async def _until_waiting(connection: asyncpg.Connection, number: int) -> None:
    """Wait until so many wait for locks in this database."""
    async with asyncio.timeout(TOGETHER_WITHIN_S):
        while await connection.fetchval(_WAITING) < number:
            await asyncio.sleep(0.01)


async def crossing(database_url: str, service: str, table: str, *works: Awaitable[object]) -> None:
    """Do `works` so that each has come to its first change of `table` before any of them makes it, in their order."""
    tasks: list[asyncio.Future[object]] = []
    async with _transaction(database_url, service) as other:
        await other.execute(f"LOCK TABLE {table} IN SHARE MODE")
        for work in works:
            tasks.append(asyncio.ensure_future(work))
            await _until_waiting(other, len(tasks))
    await asyncio.gather(*tasks)
