"""The order service's tables: the history is the truth, the rest are projections written in the same transaction.

`orders`, `order_items` and `order_events` have the columns of seed 001; a version for each order makes the history an
event store: two writers that saw the same version cannot both add to it.
"""

import sqlalchemy as sa

from orderwright.kernel.columns import ExactAmount, Instant, foreign_id, json_document, own_id
from orderwright.kernel.tables import with_kernel_tables

metadata = with_kernel_tables(sa.MetaData())

orders = sa.Table(
    "orders",
    metadata,
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
    sa.Index("ix_orders_customer", "customer_id", "id"),
    sa.Index("ix_orders_status", "status", "id"),
    # A handful of all orders: without it, whoever looks for them reads all of them.
    sa.Index(
        "ix_orders_undecided",
        "status",
        "cancel_requested",
        postgresql_where=sa.text("cancel_requested IS NOT NULL"),
        sqlite_where=sa.text("cancel_requested IS NOT NULL"),
    ),
)

order_items = sa.Table(
    "order_items",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("order_id", own_id(), sa.ForeignKey("orders.id"), nullable=False),
    sa.Column("product_id", foreign_id(), nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("unit_price", ExactAmount, nullable=False),
    sa.Column("total_price", ExactAmount, nullable=False),
    sa.CheckConstraint("quantity > 0", name="ck_order_items_quantity"),
    sa.Index("ix_order_items_order", "order_id"),
)

order_events = sa.Table(
    "order_events",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("order_id", own_id(), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("event_type", sa.String(50), nullable=False),
    sa.Column("event_data", json_document(), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("order_id", "version", name="uq_order_events_version"),
)

order_sagas = sa.Table(
    "order_sagas",
    metadata,
    sa.Column("order_id", own_id(), primary_key=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("steps", json_document(), nullable=False),
    sa.Column("reason", sa.String(100)),
    sa.Column("due_at", Instant, comment="when the current step times out, or an undo is asked for again"),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("ix_order_sagas_due", "due_at"),
)

products = sa.Table(
    "products",
    metadata,
    sa.Column("product_id", foreign_id(), primary_key=True),
    sa.Column("price", ExactAmount, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column(
        "changed_at", Instant, nullable=False, comment="the catalog's time of the last change that is known here"
    ),
)

OWN_TABLES = (orders, order_items, order_events, order_sagas, products)
