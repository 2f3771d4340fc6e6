"""Stock: every counter is the sum of the rows that explain it.

For each product in each warehouse: on hand = received - sold + returned; reserved = what living reservations hold;
sold - returned = what deducted reservations took. All of it lies in one database, so one snapshot tells it exactly,
also of a product that is sold a thousand times a second, and nothing has to settle.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from orderwright.audit.books import Books
from orderwright.audit.checks import Moment, Settling, Suspect
from orderwright.audit.findings import MOST_NAMED, Finding
from orderwright.services.inventory.tables import reservation_lines, reservations, stock

_SEPARATOR: Final = "\x1f"
"""Between product and warehouse in an id; neither may contain it (CONTRACT section 2)."""


def _held(status: str) -> sa.ColumnElement[Any]:
    return sa.func.sum(sa.case((reservations.c.status == status, reservation_lines.c.quantity), else_=0))


_BY_PLACE: Final = (
    sa.select(
        reservation_lines.c.product_id,
        reservation_lines.c.warehouse_id,
        _held("reserved").label("reserved"),
        _held("deducted").label("deducted"),
    )
    .join(reservations, reservations.c.id == reservation_lines.c.reservation_id)
    .where(reservations.c.status.in_(("reserved", "deducted")))
    .group_by(reservation_lines.c.product_id, reservation_lines.c.warehouse_id)
    .subquery()
)
_s = stock.c
_RESERVED: Final = sa.func.coalesce(_BY_PLACE.c.reserved, 0)
_DEDUCTED: Final = sa.func.coalesce(_BY_PLACE.c.deducted, 0)
_SAME_PLACE: Final = (_BY_PLACE.c.product_id == _s.product_id) & (_BY_PLACE.c.warehouse_id == _s.warehouse_id)
_OFFENDERS: Final = (
    sa.select(stock, _RESERVED.label("held"), _DEDUCTED.label("gone"))
    .outerjoin(_BY_PLACE, _SAME_PLACE)
    .where(
        sa.or_(
            _s.on_hand != _s.received - _s.sold + _s.returned,
            _s.reserved != _RESERVED,
            _s.sold - _s.returned != _DEDUCTED,
        )
    )
    .order_by(_s.product_id, _s.warehouse_id)
    .limit(MOST_NAMED)
)
_NOWHERE: Final = sa.select(_BY_PLACE).outerjoin(stock, _SAME_PLACE).where(_s.product_id.is_(None)).limit(MOST_NAMED)


class StockCheck:
    """Judges the counters of stock."""

    name = "products in stock"
    settling = Settling.AT_ONCE

    def __init__(self, books: Books) -> None:
        self._books = books
        self._found: dict[str, Suspect] = {}

    async def pages(self, moment: Moment) -> AsyncIterator[Sequence[str]]:  # noqa: ARG002 - a check is asked so
        count = sa.select(sa.func.count()).select_from(stock)
        yield [""] * await self._books.read("inventory", lambda connection: connection.execute(count).scalar_one())

    async def look(self, ids: Sequence[str], moment: Moment) -> list[Suspect]:  # noqa: ARG002
        found = await self._books.read("inventory", _offenders)
        return [suspect for suspect in found if "" in ids or suspect.id in ids]


def _offenders(connection: sa.Connection) -> list[Suspect]:
    suspects = [Suspect(_id(row), "", tuple(_of_place(row))) for row in connection.execute(_OFFENDERS)]
    suspects += [Suspect(_id(row), "", (_of_nowhere(row),)) for row in connection.execute(_NOWHERE)]
    return suspects


def _of_place(row: Any) -> Iterator[Finding]:
    if row.on_hand != row.received - row.sold + row.returned:
        yield _finding(
            row,
            "stock_sum",
            f"on hand {row.on_hand}, received {row.received}, sold {row.sold}, returned {row.returned}",
        )
    if row.reserved != row.held:
        yield _finding(row, "stock_reserved", f"the counter says {row.reserved}, living reservations hold {row.held}")
    if row.sold - row.returned != row.gone:
        yield _finding(
            row, "stock_sold", f"sold - returned is {row.sold - row.returned}, deducted reservations took {row.gone}"
        )


def _of_nowhere(row: Any) -> Finding:
    held = f"reservations hold {row.reserved} and took {row.deducted} where there is no stock row"
    return _finding(row, "stock_reserved" if row.reserved else "stock_sold", held)


def _finding(row: Any, kind: str, detail: str) -> Finding:
    return Finding(kind, f"{row.product_id} in {row.warehouse_id}", detail)


def _id(row: Any) -> str:
    return f"{row.product_id}{_SEPARATOR}{row.warehouse_id}"
