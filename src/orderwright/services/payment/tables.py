"""The payment service's tables. One payment an order; the database refuses to give back more than was taken."""

import sqlalchemy as sa

from orderwright.kernel.columns import Instant, foreign_id, own_id
from orderwright.kernel.tables import with_kernel_tables

metadata = with_kernel_tables(sa.MetaData())

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("id", own_id(), primary_key=True, comment="also the provider's idempotency key of the charge"),
    sa.Column("order_id", foreign_id(), nullable=False, unique=True),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("customer_id", foreign_id()),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.String(3)),
    sa.Column("needs_stock", sa.Boolean, nullable=False),
    sa.Column("stock_reserved", sa.Boolean, nullable=False),
    sa.Column("order_cancelled", sa.Boolean, nullable=False),
    sa.Column("held_by", sa.String(64), comment="who is changing the order; nothing is charged meanwhile"),
    sa.Column("held_until", Instant, comment="until then nobody else may change it"),
    sa.Column("provider", sa.String(40)),
    sa.Column("method_token", sa.String(255)),
    sa.Column("brand", sa.String(20)),
    sa.Column("last4", sa.String(4)),
    sa.Column("captured_minor", sa.BigInteger, nullable=False),
    sa.Column("promised_minor", sa.BigInteger, nullable=False, comment="refunds decided, done or not"),
    sa.Column("refunded_minor", sa.BigInteger, nullable=False, comment="refunds done"),
    sa.Column("failure_code", sa.String(60)),
    sa.Column("sent_at", Instant, comment="the provider may have heard of the charge, from then on at the latest"),
    sa.Column("undecided_since", Instant, comment="a charge was begun then, and its outcome is not settled"),
    sa.Column("alarmed_at", Instant, comment="somebody was told that the outcome is not known for too long"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", Instant),
    sa.Column("traceparent", sa.String(100)),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("amount_minor >= 0", name="ck_payments_amount"),
    sa.CheckConstraint("captured_minor >= 0 AND captured_minor <= amount_minor", name="ck_payments_captured"),
    sa.CheckConstraint(
        "refunded_minor >= 0 AND refunded_minor <= promised_minor AND promised_minor <= captured_minor",
        name="ck_payments_refunded",
    ),
    sa.Index("ix_payments_due", "status", "next_attempt_at"),
    sa.Index("ix_payments_customer", "customer_id"),
)

refunds = sa.Table(
    "refunds",
    metadata,
    sa.Column("id", own_id(), primary_key=True, comment="also the provider's idempotency key of the refund"),
    sa.Column("payment_id", own_id(), sa.ForeignKey("payments.id"), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("reason", sa.String(200)),
    sa.Column("requested_by", foreign_id()),
    sa.Column("sent", sa.Boolean, nullable=False, comment="the provider may have heard of it"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", Instant),
    sa.Column("alarmed_at", Instant, comment="somebody was told that it takes too long"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("amount_minor > 0", name="ck_refunds_amount"),
    sa.CheckConstraint("status IN ('pending', 'unknown', 'done')", name="ck_refunds_status"),
    sa.Index("ix_refunds_due", "status", "next_attempt_at"),
    sa.Index("ix_refunds_payment", "payment_id"),
)

payment_methods = sa.Table(
    "payment_methods",
    metadata,
    sa.Column("order_id", foreign_id(), primary_key=True),
    sa.Column("customer_id", foreign_id(), nullable=False),
    sa.Column("token", sa.String(255), nullable=False),
    sa.Column("brand", sa.String(20)),
    sa.Column("last4", sa.String(4)),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_payment_methods_created", "created_at"),
)

webhook_events = sa.Table(
    "webhook_events",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("provider", sa.String(40), nullable=False),
    sa.Column("event_id", sa.String(255), nullable=False, comment="the provider's own; twice is the same as once"),
    sa.Column("type", sa.String(100), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False, comment="as it came, signed"),
    sa.Column("charge_key", sa.String(255)),
    sa.Column("refund_key", sa.String(255)),
    sa.Column("captured", sa.Boolean, comment="whether it says that money was taken"),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("currency", sa.String(3)),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("note", sa.String(500), comment="why it is in that state"),
    sa.Column("settled_by", foreign_id(), comment="who of the staff settled it"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", Instant),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.UniqueConstraint("provider", "event_id", name="uq_webhook_events_event"),
    sa.CheckConstraint(
        "status IN ('received', 'parked', 'stranded', 'quarantined', 'done', 'ignored', 'dismissed')",
        name="ck_webhook_events_status",
    ),
    sa.Index("ix_webhook_events_due", "status", "next_attempt_at"),
)

OWN_TABLES = (payments, refunds, payment_methods, webhook_events)
