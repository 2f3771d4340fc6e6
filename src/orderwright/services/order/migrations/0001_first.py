"""The first schema: history, projections, sagas, prices."""

import sqlalchemy as sa
from alembic import op

from orderwright.kernel.columns import ExactAmount, Instant, foreign_id, json_document, own_id
from orderwright.kernel.tables import KERNEL_TABLES

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in KERNEL_TABLES:
        table.create(op.get_bind())
    _create_orders()
    op.create_table(
        "order_events",
        sa.Column("id", own_id(), primary_key=True),
        sa.Column("order_id", own_id(), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("event_type", sa.String(50), nullable=False),
        sa.Column("event_data", json_document(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.UniqueConstraint("order_id", "version", name="uq_order_events_version"),
    )
    op.create_table(
        "order_sagas",
        sa.Column("order_id", own_id(), primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("steps", json_document(), nullable=False),
        sa.Column("reason", sa.String(100)),
        sa.Column("due_at", Instant, comment="when the current step times out, or an undo is asked for again"),
        sa.Column("updated_at", Instant, nullable=False),
    )
    op.create_index("ix_order_sagas_due", "order_sagas", ["due_at"])
    op.create_table(
        "products",
        sa.Column("product_id", foreign_id(), primary_key=True),
        sa.Column("price", ExactAmount, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("changed_at", Instant, nullable=False, comment="the catalog's time of the last change that is known here"),
    )


def _create_orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", own_id(), primary_key=True),
        sa.Column("customer_id", foreign_id(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("payment_status", sa.String(20), nullable=False),
        sa.Column("fulfillment_status", sa.String(20), nullable=False),
        sa.Column("total_amount", ExactAmount, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("refunded_amount", ExactAmount, nullable=False),
        sa.Column("reserved", sa.Boolean, nullable=False),
        sa.Column("paid", sa.Boolean, nullable=False),
        sa.Column("payment_failed", sa.Boolean, nullable=False),
        sa.Column("completed", sa.Boolean, nullable=False, comment="all steps were done, also when it was cancelled later"),
        sa.Column("cancel_reason", sa.String(40)),
        sa.Column("cancel_detail", sa.Text),
        sa.Column("cancel_requested", sa.String(40)),
        sa.Column("payment_id", foreign_id()),
        sa.Column("placed_by", foreign_id(), nullable=False),
        sa.Column("client_reference", foreign_id()),
        sa.Column("shipping_address", json_document()),
        sa.Column("contact", json_document()),
        sa.Column("carrier", sa.String(100)),
        sa.Column("tracking_number", sa.String(100)),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.UniqueConstraint("placed_by", "client_reference", name="uq_orders_client_reference"),
    )
    op.create_index("ix_orders_customer", "orders", ["customer_id", "id"])
    op.create_index("ix_orders_status", "orders", ["status", "id"])
    op.create_table(
        "order_items",
        sa.Column("id", own_id(), primary_key=True),
        sa.Column("order_id", own_id(), sa.ForeignKey("orders.id"), nullable=False),
        sa.Column("product_id", foreign_id(), nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("unit_price", ExactAmount, nullable=False),
        sa.Column("total_price", ExactAmount, nullable=False),
        sa.CheckConstraint("quantity > 0", name="ck_order_items_quantity"),
    )
    op.create_index("ix_order_items_order", "order_items", ["order_id"])


def downgrade() -> None:
    for name in ("order_items", "orders", "order_events", "order_sagas", "products"):
        op.drop_table(name)
    for table in reversed(KERNEL_TABLES):
        table.drop(op.get_bind())
