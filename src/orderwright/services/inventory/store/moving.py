"""Every change of stock is one conditional statement; the rows that it affects decide.

Invariant: a statement that would take what is not there changes nothing, and `apply` raises, so nobody can overlook it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from orderwright.kernel.rows import among, change, later
from orderwright.services.inventory.domain import StockMoved, Take
from orderwright.services.inventory.tables import products, stock

Moves = Mapping[tuple[str, str], int]
"""How many, by (product, warehouse)."""


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of a row of stock, and when it may; `given.n` is how many."""

    sets: str
    where: str


RESERVE = Move("reserved = reserved + given.n", "on_hand - reserved >= given.n")
RELEASE = Move("reserved = reserved - given.n", "reserved >= given.n")
DEDUCT = Move(
    "on_hand = on_hand - given.n, reserved = reserved - given.n, sold = sold + given.n", "reserved >= given.n"
)
DEDUCT_FREE = Move("on_hand = on_hand - given.n, sold = sold + given.n", "on_hand - reserved >= given.n")
RESTOCK = Move("on_hand = on_hand + given.n, returned = returned + given.n", "true")
RECEIVE = Move("on_hand = on_hand + given.n, received = received + given.n", "on_hand + given.n >= reserved")


def apply(connection: sa.Connection, move: Move, moves: Moves) -> None:
    """Carry out one conditional change for each (product, warehouse). StockMoved when not every one of them held."""
    changes = sorted((place, n) for place, n in moves.items() if n)
    rows = [{"product_id": product, "warehouse_id": warehouse, "n": n} for (product, warehouse), n in changes]
    if not rows:
        return
    done = change(connection, stock, rows, ["product_id", "warehouse_id"], move.sets, move.where)
    if done != len(rows):
        raise StockMoved("What was to be moved is not there any more")
    # What was set aside and leaves was not available before either: there is nothing to tell.
    if move is not DEDUCT:
        mark_dirty(connection, {product for (product, _), _ in changes})


def moves_of(takes: Iterable[Take]) -> dict[tuple[str, str], int]:
    """Takes added up by product and warehouse."""
    moves: defaultdict[tuple[str, str], int] = defaultdict(int)
    for take in takes:
        moves[take.product_id, take.warehouse_id] += take.quantity
    return dict(moves)


_MARK_DIRTY = sa.update(products).where(among(products.c.product_id, "ids")).values(dirty=True)


def mark_dirty(connection: sa.Connection, product_ids: Iterable[str]) -> None:
    """The levels of these products are to be told.

    Also of those that are marked: whoever is telling them just now may have read the level before this change.
    """
    later(connection, products, _MARK_DIRTY, {"ids": sorted(product_ids)})
