"""Every change of stock is one conditional statement; the rows that it affects decide.

Invariant: a statement that would take what is not there changes nothing, and `apply` raises, so nobody can overlook it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from orderwright.services.inventory.domain import StockMoved, Take
from orderwright.services.inventory.tables import products, stock

Moves = Mapping[tuple[str, str], int]
"""How many, by (product, warehouse)."""

_KEY = (stock.c.product_id == sa.bindparam("p")) & (stock.c.warehouse_id == sa.bindparam("w"))
_N = sa.bindparam("n", type_=sa.BigInteger)

RESERVE = sa.update(stock).where(_KEY, stock.c.on_hand - stock.c.reserved >= _N).values(reserved=stock.c.reserved + _N)
RELEASE = sa.update(stock).where(_KEY, stock.c.reserved >= _N).values(reserved=stock.c.reserved - _N)
DEDUCT = (
    sa.update(stock)
    .where(_KEY, stock.c.reserved >= _N)
    .values(on_hand=stock.c.on_hand - _N, reserved=stock.c.reserved - _N, sold=stock.c.sold + _N)
)
DEDUCT_FREE = (
    sa.update(stock)
    .where(_KEY, stock.c.on_hand - stock.c.reserved >= _N)
    .values(on_hand=stock.c.on_hand - _N, sold=stock.c.sold + _N)
)
RESTOCK = sa.update(stock).where(_KEY).values(on_hand=stock.c.on_hand + _N, returned=stock.c.returned + _N)
RECEIVE = (
    sa.update(stock)
    .where(_KEY, stock.c.on_hand + _N >= stock.c.reserved)
    .values(on_hand=stock.c.on_hand + _N, received=stock.c.received + _N)
)


def apply(connection: sa.Connection, statement: sa.Update, moves: Moves) -> None:
    """Carry out one conditional change for each (product, warehouse). StockMoved when not every one of them held."""
    changes = sorted((place, n) for place, n in moves.items() if n)
    rows = [{"p": product, "w": warehouse, "n": n} for (product, warehouse), n in changes]
    if not rows:
        return
    if connection.dialect.supports_sane_multi_rowcount:
        done = connection.execute(statement, rows).rowcount
    else:
        done = sum(connection.execute(statement, row).rowcount for row in rows)
    if done != len(rows):
        raise StockMoved("What was to be moved is not there any more")
    # What was set aside and leaves was not available before either: there is nothing to tell.
    if statement is not DEDUCT:
        mark_dirty(connection, {product for (product, _), _ in changes})


def moves_of(takes: Iterable[Take]) -> dict[tuple[str, str], int]:
    """Takes added up by product and warehouse."""
    moves: defaultdict[tuple[str, str], int] = defaultdict(int)
    for take in takes:
        moves[take.product_id, take.warehouse_id] += take.quantity
    return dict(moves)


def mark_dirty(connection: sa.Connection, product_ids: Iterable[str]) -> None:
    """The levels of these products are to be told.

    Also of those that are marked: whoever is telling them just now may have read the level before this change.
    """
    chosen = products.c.product_id.in_(sorted(product_ids))
    connection.execute(sa.update(products).where(chosen).values(dirty=True))
