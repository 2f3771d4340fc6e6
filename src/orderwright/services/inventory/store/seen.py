"""What is set aside and what can be taken, seen without locks in one statement.

A customer waits for it, and two statements are two round trips (docs/decisions/0014). Whoever writes by what this says
makes the write depend on it (see `UnitOfWork.optimistic`).
"""

from collections.abc import Iterable

import sqlalchemy as sa

from orderwright.services.inventory.domain import Levels, Reservation
from orderwright.services.inventory.store import holdings, levels
from orderwright.services.inventory.tables import reservations

_HELD = holdings.WITH_LINES.add_columns(sa.null().label("available"), sa.null().label("priority"))
_FREE = levels.AVAILABLE.with_only_columns(
    *(sa.null().label(column.name) for column in reservations.c),
    levels.AVAILABLE.selected_columns.product_id,
    levels.AVAILABLE.selected_columns.warehouse_id,
    sa.null().label("quantity"),
    levels.AVAILABLE.selected_columns.available,
    levels.AVAILABLE.selected_columns.priority,
)
_BOTH = sa.union_all(_HELD, _FREE).order_by("id", "product_id", "warehouse_id")


def held_and_free(
    connection: sa.Connection, order_ids: Iterable[str], owners: Iterable[str], product_ids: Iterable[str]
) -> tuple[dict[str, Reservation], list[Reservation], Levels]:
    """The reservations of these orders, what is set aside for these people's carts, and the levels of these goods."""
    wanted = {
        "ids": sorted(set(order_ids)),
        "owners": sorted(set(owners)),
        "products": sorted(set(product_ids)),
    }
    rows = connection.execute(_BOTH, wanted).all()
    held, soft = holdings.apart(holdings.joined(row for row in rows if row.id is not None))
    return held, soft, levels.of_rows(row for row in rows if row.id is None)
