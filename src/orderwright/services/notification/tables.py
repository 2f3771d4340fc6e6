"""The notification service's tables. What is told once has a key of its own, so telling it twice is impossible."""

import sqlalchemy as sa

from orderwright.kernel.columns import Instant, foreign_id, json_document, own_id
from orderwright.kernel.tables import with_kernel_tables

metadata = with_kernel_tables(sa.MetaData())

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", foreign_id(), primary_key=True),
    sa.Column("customer_id", foreign_id(), nullable=False),
    sa.Column("details", json_document(), nullable=False, comment="total, currency and items, for the texts"),
)

notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("type", sa.String(60), nullable=False),
    sa.Column("channel", sa.String(10), nullable=False),
    sa.Column("once", sa.String(255), nullable=False, unique=True, comment="what makes it the same message again"),
    sa.Column("recipient", sa.String(320)),
    sa.Column("customer_id", foreign_id()),
    sa.Column("order_id", foreign_id()),
    sa.Column("subject", sa.Text),
    sa.Column("body", sa.Text),
    sa.Column("context", json_document(), nullable=False),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", Instant, comment="null: kept until there is a way to send it"),
    sa.Column("error", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("sent_at", Instant),
    sa.CheckConstraint("status IN ('queued', 'sent', 'failed')", name="ck_notifications_status"),
    sa.Index("ix_notifications_due", "status", "next_attempt_at"),
    sa.Index("ix_notifications_order", "order_id"),
)

templates = sa.Table(
    "templates",
    metadata,
    sa.Column("name", sa.String(60), primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("updated_by", foreign_id(), nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

OWN_TABLES = (orders, notifications, templates)
