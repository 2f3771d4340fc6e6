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


async def crossing(database_url: str, service: str, table: str, *works: Awaitable[object]) -> None:
    """Do `works` so that each has come to its first change of `table` before any of them makes it, in their order."""
    connection = await asyncpg.connect(f"{database_url}_{service}")
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
        tasks: list[asyncio.Future[object]] = []
        for work in works:
            tasks.append(asyncio.ensure_future(work))
            async with asyncio.timeout(TOGETHER_WITHIN_S):
                while await connection.fetchval(_WAITING) < len(tasks):
                    await asyncio.sleep(0.01)
        await transaction.rollback()
        await asyncio.gather(*tasks)
    finally:
        await connection.close()
