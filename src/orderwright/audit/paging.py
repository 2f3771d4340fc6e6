"""Pages of a table by its key: bounded memory whatever the table's size, and no row is skipped or read twice.

Invariant: a page begins after the key of the last row of the page before (never OFFSET), so rows that come and go
meanwhile move nothing.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from orderwright.audit.books import Books

IDS_AT_ONCE: Final = 10
"""So many times a page of ids alone is as long as one of orders with all that belongs to them."""


async def pages_by_key(
    books: Books, service: str, key: sa.Column[Any], query: sa.Select[Any], size: int
) -> AsyncIterator[Sequence[Any]]:
    """The rows of `query`, whose first column is `key`, in pages of `size`."""
    after: Any = None
    while True:
        statement = query.order_by(key).limit(size)
        if after is not None:
            statement = statement.where(key > after)

        def read(connection: sa.Connection, page: sa.Select[Any] = statement) -> Sequence[Any]:
            return connection.execute(page).all()

        rows = await books.read(service, read)
        if rows:
            yield rows
        if len(rows) < size:
            return
        after = rows[-1][0]
