"""The catalog's tables. A product that was deleted keeps its row, so that its id is never used for another one."""

import sqlalchemy as sa

from orderwright.kernel.columns import ExactAmount, Instant, foreign_id
from orderwright.kernel.tables import with_kernel_tables

metadata = with_kernel_tables(sa.MetaData())

products = sa.Table(
    "products",
    metadata,
    sa.Column("id", foreign_id(), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("price", ExactAmount, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False, comment="available, as the inventory last said"),
    sa.Column("quantity_at", Instant, comment="when the inventory said so"),
    sa.Column("sku", sa.String(64), comment="what the shop's own books call it"),
    sa.Column("category", sa.String(200)),
    sa.Column("image_url", sa.String(500)),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("ix_products_listing", "deleted", "name", "id"),
    sa.Index("ix_products_category", "category", "name"),
)

OWN_TABLES = (products,)
