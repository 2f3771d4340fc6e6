"""Migrations: brings a service's database to the newest schema with Alembic.

Each service keeps its versions in `services/<name>/migrations/NNNN_what.py`; the revision is the number. Invariant: a
schema is only ever changed by a migration, and each one also runs on an empty database.
"""

from pathlib import Path

import sqlalchemy as sa

from orderwright.kernel.database import Database, wait_for_other_migrations
from orderwright.kernel.errors import ConfigurationError, DatabaseMissing

VERSION_TABLE = "alembic_version"


def newest_revision(folder: Path) -> str:
    """The number of the last migration in `folder`."""
    return max(path.name.partition("_")[0] for path in folder.glob("[0-9]*_*.py"))


def current_revision(connection: sa.Connection) -> str | None:
    """The revision that a database is at; None for an empty one."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608
    return revision


async def migrate(database: Database, folder: Path) -> bool:
    """Make `database` and bring it to the newest revision in `folder`; answers whether anything was to do."""

    def work(connection: sa.Connection) -> bool:
        wait_for_other_migrations(connection)
        if current_revision(connection) == newest_revision(folder):
            return False
        upgrade(connection, folder)
        return True

    await database.create()
    return await database.write(work)


async def check_migrated(database: Database, folder: Path) -> None:
    """ConfigurationError unless `database` is there, at the newest revision in `folder`."""
    try:
        revision = await database.read(current_revision)
    except DatabaseMissing:
        revision = None
    newest = newest_revision(folder)
    if revision != newest:
        raise ConfigurationError(
            f"The database of {folder.parent.name} is at revision {revision or 'none'}, and {newest} is needed: run "
            "`orderwright migrate` first, or let services do it themselves with ORDERWRIGHT_MIGRATE=at-start"
        )


def upgrade(connection: sa.Connection, folder: Path, target: str = "head") -> None:
    """Run the migrations up to `target` on `connection`, in its transaction."""
    # Alembic costs a tenth of a second to import; a start with nothing to migrate does without it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(folder))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, target)
