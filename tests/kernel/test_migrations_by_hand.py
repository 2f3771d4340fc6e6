"""Where somebody migrates by hand, a service that starts too early says what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orderwright.kernel.database import open_database
from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.migrations import check_migrated
from orderwright.services.catalog import manifest
from tests.databases import fresh_databases

MIGRATIONS = Path(manifest.__file__).parent / "migrations"


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where there is no database yet."""
    with fresh_databases(request.param, tmp_path) as fresh:
        yield fresh


async def test_a_database_that_was_never_made_has_to_be_migrated(url: str) -> None:
    database = open_database(url, "catalog")
    try:
        with pytest.raises(ConfigurationError, match="run `orderwright migrate` first"):
            await check_migrated(database, MIGRATIONS)
    finally:
        await database.close()
