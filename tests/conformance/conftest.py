"""Databases with a shelf in them, for the tests of the database port."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orderwright.kernel.database import Database, open_database
from tests.conformance.shelf import metadata
from tests.databases import fresh_databases


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each database in turn, with nothing in it."""
    with fresh_databases(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = open_database(url, "order")
    await opened.create()
    await opened.write(metadata.create_all)
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str, database: Database) -> AsyncIterator[Database]:
    """The same database, opened by somebody else."""
    opened = open_database(url, "order")
    yield opened
    await opened.close()
