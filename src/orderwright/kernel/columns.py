"""Column types that mean the same on SQLite and on PostgreSQL; the only place where the two differ in a table.

Invariant: an instant is stored and comes back as aware UTC; an amount is stored and comes back as an exact Decimal.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect


class Instant(sa.types.TypeDecorator[datetime]):
    """`timestamptz` on PostgreSQL; UTC text, which sorts by time, on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.replace(tzinfo=UTC)


class ExactAmount(sa.types.TypeDecorator[Decimal]):
    """An amount of money that SQL does not calculate with: NUMERIC on PostgreSQL, decimal text on SQLite.

    SQLite has no decimal type, and SQLAlchemy's own Numeric would go through a binary float there.
    """

    impl = sa.Numeric(14, 4)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(sa.String(20) if dialect.name == "sqlite" else sa.Numeric(14, 4))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name != "sqlite" else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        return None if value is None else Decimal(value)


def own_id() -> sa.types.TypeEngine[str]:
    """A UUID that this service made: `uuid` on PostgreSQL, text on SQLite; text in Python on both."""
    return sa.String(36).with_variant(sa.Uuid(as_uuid=False), "postgresql")


def foreign_id() -> sa.types.TypeEngine[str]:
    """An id that another service made: opaque text of up to 64 characters."""
    return sa.String(64)


def json_document() -> sa.types.TypeEngine[Any]:
    """A JSON document: `jsonb` on PostgreSQL, text on SQLite."""
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
