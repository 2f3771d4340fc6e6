"""The inventory's tables. The database itself refuses stock that is not there, and stock that does not add up.

Invariants, as constraints: nothing reserved beyond what is on hand; on hand = received - sold + returned.
"""

import sqlalchemy as sa

from orderwright.kernel.columns import Instant, foreign_id, own_id
from orderwright.kernel.tables import with_kernel_tables

metadata = with_kernel_tables(sa.MetaData())

warehouses = sa.Table(
    "warehouses",
    metadata,
    sa.Column("id", foreign_id(), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, comment="lower is used first"),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

products = sa.Table(
    "products",
    metadata,
    sa.Column("product_id", foreign_id(), primary_key=True),
    sa.Column("name", sa.String(500)),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("catalog_time", Instant, comment="of the last word of the catalog on the quantity"),
    sa.Column("dirty", sa.Boolean, nullable=False, comment="its level changed and was not told yet"),
    sa.Index("ix_products_dirty", "dirty"),
)

stock = sa.Table(
    "stock",
    metadata,
    sa.Column("product_id", foreign_id(), primary_key=True),
    sa.Column("warehouse_id", foreign_id(), primary_key=True),
    sa.Column("on_hand", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("sold", sa.BigInteger, nullable=False),
    sa.Column("returned", sa.BigInteger, nullable=False),
    sa.CheckConstraint("reserved >= 0", name="ck_stock_reserved"),
    sa.CheckConstraint("on_hand >= reserved", name="ck_stock_not_oversold"),
    sa.CheckConstraint("on_hand = received - sold + returned", name="ck_stock_adds_up"),
)

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("order_id", foreign_id(), unique=True),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("owner", foreign_id()),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("expires_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("status IN ('reserved', 'cancelled', 'expired', 'deducted')", name="ck_reservations_status"),
    sa.Index("ix_reservations_expiry", "status", "expires_at"),
    # A few of all reservations, however many their owners have.
    sa.Index(
        "ix_reservations_cart",
        "owner",
        postgresql_where=sa.text("kind = 'cart' AND status = 'reserved'"),
        sqlite_where=sa.text("kind = 'cart' AND status = 'reserved'"),
    ),
)

reservation_lines = sa.Table(
    "reservation_lines",
    metadata,
    sa.Column("reservation_id", own_id(), sa.ForeignKey("reservations.id"), primary_key=True),
    sa.Column("product_id", foreign_id(), primary_key=True),
    sa.Column("warehouse_id", foreign_id(), primary_key=True),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.CheckConstraint("quantity > 0", name="ck_reservation_lines_quantity"),
)

OWN_TABLES = (warehouses, products, stock, reservations, reservation_lines)
