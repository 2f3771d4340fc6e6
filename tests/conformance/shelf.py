"""The tables that the conformance tests of databases write to and read from, and how."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.columns import ExactAmount, Instant, json_document, own_id
from orderwright.kernel.rows import among

metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("stock", sa.Integer, nullable=False),
    sa.CheckConstraint("stock >= 0"),
)
kinds = sa.Table(
    "kinds",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("at", Instant),
    sa.Column("amount", ExactAmount),
    sa.Column("document", json_document()),
    sa.Column("body", sa.LargeBinary),
)


COUNTS = sa.select(things.c.name, things.c.stock)
CHANGE = (
    sa.update(things)
    .where(things.c.name == sa.bindparam("which"), things.c.stock + sa.bindparam("by", type_=sa.Integer) >= 0)
    .values(stock=things.c.stock + sa.bindparam("by", type_=sa.Integer))
)
EMPTY = sa.delete(things).where(among(things.c.name, "names"))
"""Kept, as stores keep theirs: from the third time on they take the short way to the driver."""


def kind(number: int) -> dict[str, Any]:
    """A row of `kinds`."""
    return {"id": f"019b0000-001d-7000-a35c-{number:012}", "body": b"\xff"}


def add(connection: sa.Connection, name: str, stock: int = 0) -> None:
    connection.execute(sa.insert(things).values(name=name, stock=stock))


def add_all(connection: sa.Connection, names: Iterable[str], stock: int = 0) -> None:
    connection.execute(sa.insert(things), [{"name": name, "stock": stock} for name in names])


def change(connection: sa.Connection, name: str, by: int) -> int:
    return connection.execute(CHANGE, {"by": by, "which": name}).rowcount


def counts(connection: sa.Connection) -> dict[str, int]:
    return {row.name: row.stock for row in connection.execute(COUNTS)}
