"""How PostgreSQL is told to look after tables: what it need not count, and which pages are to stay."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from orderwright.kernel.database import open_database
from orderwright.kernel.migrations import migrate
from orderwright.services.order import manifest
from tests.databases import fresh_databases

FILL = (
    "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, version, source, created_at, lease_until) "
    "SELECT n, 't', 'k', 'T', '\\x00', 1, 's', now(), now() FROM generate_series(1, 5000) AS n"
)


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[asyncpg.Connection]:
    """The order service's database, as its migrations make it."""
    with fresh_databases("postgres", tmp_path) as url:
        database = open_database(url, "order")
        await migrate(database, Path(manifest.__file__).parent / "migrations")
        await database.close()
        connection = await asyncpg.connect(f"{url}_order")
        yield connection
        await connection.close()


async def test_ids_and_states_are_counted_and_documents_are_not(books: asyncpg.Connection) -> None:
    uncounted = await books.fetch(
        "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE relname IN ('orders', 'order_events', 'order_sagas', 'order_items', 'outbox', 'inbox') "
        "AND attnum > 0 AND attstattarget = 0"
    )
    assert {tuple(row) for row in uncounted} == {
        ("orders", "shipping_address"),
        ("orders", "contact"),
        ("orders", "cancel_detail"),
        ("order_events", "event_data"),
        ("order_sagas", "steps"),
        ("outbox", "payload"),
    }


async def test_an_outbox_that_was_trimmed_keeps_its_pages(books: asyncpg.Connection) -> None:
    await books.execute(FILL)
    before = await books.fetchval("SELECT pg_relation_size('outbox')")
    await books.execute("DELETE FROM outbox")
    await books.execute("VACUUM outbox")
    assert await books.fetchval("SELECT pg_relation_size('outbox')") == before > 0
