"""Every service's migrations make exactly the tables that its code uses, also from empty, and can be taken back."""

from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from orderwright.kernel.databases.sqlite import SqliteDatabase
from orderwright.kernel.migrations import current_revision, migrate, newest_revision
from orderwright.services import SERVICES


def folder_of(service: str) -> Path:
    return Path(f"src/orderwright/services/{service}/migrations")


@pytest.mark.parametrize("service", SERVICES)
async def test_migrating_from_empty_gives_the_tables_of_the_code(service: str, tmp_path: Path) -> None:
    metadata: sa.MetaData = import_module(f"orderwright.services.{service}.tables").metadata
    database = SqliteDatabase(f"sqlite:///{tmp_path}", service)
    assert await migrate(database, folder_of(service))
    assert not await migrate(database, folder_of(service))
    assert await database.read(current_revision) == newest_revision(folder_of(service))
    differences = await database.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    await database.close()
    assert differences == []
