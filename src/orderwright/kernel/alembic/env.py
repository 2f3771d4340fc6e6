"""What Alembic runs for every service: the migrations, on the connection that was handed in."""

from alembic import context

from orderwright.kernel.migrations import VERSION_TABLE

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=False,
)
context.run_migrations()
