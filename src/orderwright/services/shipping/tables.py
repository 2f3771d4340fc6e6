"""The shipping service's tables. An order has one shipment; the database knows no second."""

import sqlalchemy as sa

from orderwright.kernel.columns import Instant, foreign_id, own_id
from orderwright.kernel.tables import with_kernel_tables

metadata = with_kernel_tables(sa.MetaData())

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", foreign_id(), primary_key=True),
    # Unknown as long as only the order's end was heard of.
    sa.Column("customer_id", foreign_id()),
    sa.Column("has_goods", sa.Boolean),
    sa.Column("completed", sa.Boolean, nullable=False),
)

shipments = sa.Table(
    "shipments",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("order_id", foreign_id(), nullable=False, unique=True),
    sa.Column("customer_id", foreign_id()),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("carrier", sa.String(100)),
    sa.Column("tracking_number", sa.String(100)),
    sa.Column("shipped_at", Instant),
    sa.Column("delivered_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("status IN ('pending', 'shipped', 'delivered', 'cancelled')", name="ck_shipments_status"),
    sa.Index("ix_shipments_customer", "customer_id", "id"),
    sa.Index("ix_shipments_status", "status", "id"),
)

OWN_TABLES = (orders, shipments)
