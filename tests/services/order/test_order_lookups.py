"""What is looked for again and again is found by an index, however many orders there are."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.databases.sqlite import SqliteDatabase
from orderwright.kernel.migrations import migrate
from orderwright.services.order import store


async def test_undecided_cancellations_are_found_without_reading_the_other_orders(tmp_path: Path) -> None:
    heard: list[tuple[str, Any]] = []

    def plan(connection: sa.Connection) -> list[str]:
        sa.event.listen(connection, "before_cursor_execute", lambda *told: heard.append((told[2], told[3])))
        store.undecided_cancellations(connection, limit=50)
        statement, values = heard[-1]
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]

    database = SqliteDatabase(f"sqlite:///{tmp_path}", "order")
    await migrate(database, Path("src/orderwright/services/order/migrations"))
    steps = await database.read(plan)
    await database.close()
    assert [step for step in steps if "ix_orders_undecided" in step] == steps
