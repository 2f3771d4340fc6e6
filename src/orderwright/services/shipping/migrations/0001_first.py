"""The first schema: orders heard of, shipments.

It makes the tables as the code has them; once a version has been released it is frozen, and a change is a new migration
(docs/decisions/0004-migrations.md).
"""

from alembic import op

from orderwright.kernel.tables import KERNEL_TABLES
from orderwright.services.shipping.tables import OWN_TABLES

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in (*KERNEL_TABLES, *OWN_TABLES):
        table.create(op.get_bind())


def downgrade() -> None:
    for table in reversed((*KERNEL_TABLES, *OWN_TABLES)):
        table.drop(op.get_bind())
