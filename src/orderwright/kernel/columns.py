"""Column types that mean the same on SQLite and on PostgreSQL; the only place where the two differ in a table.

Invariant: an instant is stored and comes back as aware UTC; an amount is stored and comes back as an exact Decimal.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

_CANONICAL = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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

    impl = sa.Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        # Without a scale of its own NUMERIC gives an amount back with the decimals that it was given.
        return dialect.type_descriptor(sa.String(20) if dialect.name == "sqlite" else sa.Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name != "sqlite" else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        return None if value is None else Decimal(value)


class OwnId(sa.types.TypeDecorator[str]):
    """A UUID that this service made: `uuid` on PostgreSQL, text on SQLite; text in Python on both.

    Callers ask with whatever they were given. What is no UUID is nobody's id: it is compared as NULL, which no row
    equals and no key may be.
    """

    impl = sa.String(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(sa.String(36) if dialect.name == "sqlite" else sa.Uuid(as_uuid=False))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name == "sqlite":
            return value
        if _CANONICAL.fullmatch(value):
            return value
        try:
            return str(UUID(value))
        except ValueError:
            return None


def storable(text: str, length: int) -> str:
    """What can be kept of a text that somebody else made: PostgreSQL takes no zero bytes and no lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:length]


def own_id() -> OwnId:
    """The column type of a service's own ids."""
    return OwnId()


def foreign_id() -> sa.types.TypeEngine[str]:
    """An id that another service made: opaque text of up to 64 characters."""
    return sa.String(64)


def json_document() -> sa.types.TypeEngine[Any]:
    """A JSON document: `jsonb` on PostgreSQL, text on SQLite."""
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
