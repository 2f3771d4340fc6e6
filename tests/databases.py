"""Which databases tests run on: a folder of SQLite files, and a PostgreSQL where one was found.

PostgreSQL is found by the environment (ORDERWRIGHT_TEST_POSTGRES_URL) or where `make backends` started it. Every test
gets databases of its own there, which are dropped when it is over.
"""

import asyncio
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from tools.backends.__main__ import chosen_folder, urls_of

SERVERS = {
    "PostgreSQL": "ORDERWRIGHT_TEST_POSTGRES_URL",
    "PgBouncer": "ORDERWRIGHT_TEST_PGBOUNCER_URL",
    "Redis": "ORDERWRIGHT_TEST_REDIS_URL",
    "RabbitMQ": "ORDERWRIGHT_TEST_RABBITMQ_URL",
    "Kafka": "ORDERWRIGHT_TEST_KAFKA_URL",
}
"""The servers that tests use when they find them, and what tells where each is."""
REQUIRED = "ORDERWRIGHT_TEST_REQUIRED"
"""When this is set, a server that is not found fails the tests that need it."""


def url_of(server: str) -> str | None:
    """Where a server is; None when there is none."""
    name = SERVERS[server]
    return os.environ.get(name) or urls_of(chosen_folder()).get(name)


def needed(server: str) -> str:
    """Where a server is; skips the test where there is none, or fails it where all are required."""
    url = url_of(server)
    if url is not None:
        return url
    if os.environ.get(REQUIRED):
        pytest.fail(f"{server} is required here, and {SERVERS[server]} does not say where it is")
    pytest.skip(f"{server} was not found; `make backends` starts it")


@contextmanager
def fresh_databases(kind: str, folder: Path) -> Iterator[str]:
    """A URL under which each service gets a new database of that kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}"
        return
    name = f"t{secrets.token_hex(6)}"
    server = needed("PostgreSQL")
    reached = needed("PgBouncer") if kind == "pgbouncer" else server
    try:
        yield f"{reached.rpartition('/')[0]}/{name}{'?pgbouncer=true' if kind == 'pgbouncer' else ''}"
    finally:
        # In a thread of its own, because a fixture may end while an event loop runs in this one.
        dropping = threading.Thread(target=lambda: asyncio.run(_drop(server, name)))
        dropping.start()
        dropping.join()


async def _drop(server: str, name: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        made = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE $1", f"{name}%")
        for row in made:
            await connection.execute(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
    finally:
        await connection.close()
