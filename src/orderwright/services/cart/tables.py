"""The cart service's tables. Somebody has one open cart at most; a checked-out cart stays as it was."""

import sqlalchemy as sa

from orderwright.kernel.columns import ExactAmount, Instant, foreign_id, own_id
from orderwright.kernel.tables import with_kernel_tables

metadata = with_kernel_tables(sa.MetaData())

carts = sa.Table(
    "carts",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("user_id", foreign_id(), nullable=False),
    sa.Column("open_for", foreign_id(), unique=True, comment="the user while the cart is open, else null"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("ix_carts_user", "user_id"),
)

cart_items = sa.Table(
    "cart_items",
    metadata,
    sa.Column("cart_id", own_id(), sa.ForeignKey("carts.id"), primary_key=True),
    sa.Column("product_id", foreign_id(), primary_key=True),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("added_at", Instant, nullable=False),
    sa.CheckConstraint("quantity > 0", name="ck_cart_items_quantity"),
    sa.Index("ix_cart_items_product", "product_id"),
)

products = sa.Table(
    "products",
    metadata,
    sa.Column("product_id", foreign_id(), primary_key=True),
    sa.Column("price", ExactAmount, comment="null until it was heard"),
    sa.Column("currency", sa.String(3)),
    sa.Column("priced_at", Instant, comment="the catalog's time of the newest price that is known here"),
    sa.Column("name", sa.String(500)),
    sa.Column("named_at", Instant, comment="the catalog's time of the newest name that is known here"),
    sa.Column("deleted", sa.Boolean, nullable=False),
)

OWN_TABLES = (carts, cart_items, products)
