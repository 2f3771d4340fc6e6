"""The first schema: warehouses, stock, reservations.

It makes the tables as the code has them; once a version has been released it is frozen, and a change is a new migration
(docs/decisions/0004-migrations.md).
"""

from alembic import op

from orderwright.kernel.tables import drop_tables, make_tables
from orderwright.services.inventory.tables import OWN_TABLES

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    make_tables(op.get_bind(), OWN_TABLES)


def downgrade() -> None:
    drop_tables(op.get_bind(), OWN_TABLES)
