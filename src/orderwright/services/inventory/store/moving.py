"""Every change of stock is conditional, many rows in one statement; the rows that it affects decide.

Invariant: a statement that would take what is not there changes nothing, and `apply` lets its transaction not go on, so
nobody can overlook it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final

import sqlalchemy as sa

from orderwright.kernel.rows import among, change_all, later
from orderwright.services.inventory.domain import StockMoved, Take
from orderwright.services.inventory.tables import products, stock


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of a row of stock for each piece that is moved."""

    on_hand: int = 0
    reserved: int = 0
    received: int = 0
    sold: int = 0
    returned: int = 0

    def plus(self, other: "Move", n: int) -> "Move":
        """This, and then `other` for `n` pieces."""
        return Move(*(getattr(self, name) + n * getattr(other, name) for name in COLUMNS))


COLUMNS: Final = tuple(field.name for field in fields(Move))
RESERVE: Final = Move(reserved=1)
RELEASE: Final = Move(reserved=-1)
DEDUCT: Final = Move(on_hand=-1, reserved=-1, sold=1)
DEDUCT_FREE: Final = Move(on_hand=-1, sold=1)
RESTOCK: Final = Move(on_hand=1, returned=1)
RECEIVE: Final = Move(on_hand=1, received=1)

SETS: Final = ", ".join(f"{name} = stock.{name} + given.{name}" for name in COLUMNS)
HOLDS: Final = (
    "stock.reserved + given.reserved >= 0 AND stock.on_hand + given.on_hand >= stock.reserved + given.reserved"
)
"""What is moved is there: set aside, or free."""

Moves = Mapping[tuple[str, str], Move]
"""What becomes of the row of each (product, warehouse)."""


def moves_of(*moved: tuple[Move, Iterable[Take]]) -> Moves:
    """Moves of goods, added up by where they lie: what several come to is one change of a row."""
    moves: dict[tuple[str, str], Move] = {}
    for move, takes in moved:
        for take in takes:
            place = take.product_id, take.warehouse_id
            moves[place] = moves.get(place, Move()).plus(move, take.quantity)
    return moves


def apply(connection: sa.Connection, moves: Moves) -> None:
    """Carry out one conditional change for each (product, warehouse). StockMoved when not every one of them held."""
    changes = {place: move for place, move in sorted(moves.items()) if move != Move()}
    rows = [
        {"product_id": product, "warehouse_id": warehouse} | {name: getattr(move, name) for name in COLUMNS}
        for (product, warehouse), move in changes.items()
    ]
    if not rows:
        return
    if not change_all(connection, stock, rows, ["product_id", "warehouse_id"], SETS, HOLDS):
        raise StockMoved("What was to be moved is not there any more")
    # What was set aside and leaves was not available before either: there is nothing to tell.
    if news := {product for (product, _), move in changes.items() if move.on_hand != move.reserved}:
        mark_dirty(connection, news)


_MARK_DIRTY = sa.update(products).where(among(products.c.product_id, "ids")).values(dirty=True)


def mark_dirty(connection: sa.Connection, product_ids: Iterable[str]) -> None:
    """The levels of these products are to be told.

    Also of those that are marked: whoever is telling them just now may have read the level before this change.
    """
    later(connection, products, _MARK_DIRTY, {"ids": sorted(product_ids)})
