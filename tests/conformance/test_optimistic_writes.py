"""Optimistic transactions: without locks and in one statement where that goes well, and otherwise with locks."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from orderwright.kernel import rows
from orderwright.kernel.database import Database
from orderwright.kernel.databases.optimistic import OptimisticConnection
from tests.conformance.shelf import COUNTS, EMPTY, counts, kind, kinds, things

OFTEN = 5
SETS, HOLDS = "stock = things.stock + given.stock", "things.stock + given.stock >= 0"

Work = Callable[[sa.Connection], Any]


pytestmark = pytest.mark.parametrize("url", ["postgres", "pgbouncer"], indirect=True)
"""SQLite has one writer, and so no other way than its own."""


class Tried:
    """Work that knows how often it was tried without locks and with them."""

    def __init__(self, work: Work) -> None:
        self.optimistically = self.with_locks = 0
        self._work = work

    def __call__(self, connection: sa.Connection) -> Any:
        if isinstance(connection, OptimisticConnection):
            self.optimistically += 1
        else:
            self.with_locks += 1
        return self._work(connection)


def add_exactly(connection: sa.Connection, stock: int, *names: str, unless: str = "") -> None:
    new = [{"name": name, "stock": stock} for name in names]
    if isinstance(connection, OptimisticConnection):
        rows.insert_exactly(connection, things, new, unless)
    else:
        rows.insert_new(connection, things, new, ["name"], unless)


async def test_what_reads_first_is_done_without_locks_and_all_at_once(database: Database, other: Database) -> None:
    def work(connection: sa.Connection) -> dict[str, int]:
        before = counts(connection)
        rows.insert(connection, kinds, [kind(len(before))])
        add_exactly(connection, 1, f"n{len(before)}")
        return before

    tried = Tried(work)
    for number in range(OFTEN):
        assert len(await database.write(tried, optimistic=True)) == number
    assert (tried.optimistically, tried.with_locks) == (OFTEN, 0)
    assert await other.read(counts) == {f"n{number}": 1 for number in range(OFTEN)}


async def test_who_adds_what_is_there_already_does_all_of_it_again_with_locks(database: Database) -> None:
    await database.write(lambda connection: rows.insert(connection, things, [{"name": "a", "stock": 1}]))

    def work(connection: sa.Connection) -> None:
        rows.insert_ignoring(connection, kinds, [kind(1)])
        add_exactly(connection, 2, "a", "b")

    tried = Tried(work)
    await database.write(tried, optimistic=True)
    assert (tried.optimistically, tried.with_locks) == (1, 1)
    assert await database.read(counts) == {"a": 1, "b": 2}


async def test_nothing_of_an_attempt_that_was_overtaken_remains(database: Database) -> None:
    await database.write(lambda connection: rows.insert(connection, things, [{"name": "a", "stock": 1}]))

    def work(connection: sa.Connection) -> None:
        if not isinstance(connection, OptimisticConnection):
            raise LookupError("on purpose")
        rows.insert(connection, kinds, [kind(1)])
        rows.insert_exactly(connection, things, [{"name": "a", "stock": 2}, {"name": "b", "stock": 2}])

    for _ in range(OFTEN):
        with pytest.raises(LookupError):
            await database.write(work, optimistic=True)
    assert await database.read(counts) == {"a": 1}
    assert await database.read(lambda connection: connection.execute(sa.select(kinds.c.id)).all()) == []


async def test_a_change_that_does_not_hold_any_more_is_done_again_with_locks(database: Database) -> None:
    names = ["a", "b"]
    await database.write(
        lambda connection: rows.insert(connection, things, [{"name": name, "stock": 3} for name in names])
    )

    def take(connection: sa.Connection) -> bool:
        moves = [{"name": "a", "stock": -1}, {"name": "b", "stock": -2}]
        return rows.change_all(connection, things, moves, ["name"], SETS, HOLDS)

    tried = Tried(take)
    assert await database.write(tried, optimistic=True)
    assert (tried.optimistically, tried.with_locks) == (1, 0)
    # The second time there is not enough of b: with locks that is found out at once, and nobody lost anything before.
    assert not await database.write(tried, optimistic=True)
    assert (tried.optimistically, tried.with_locks) == (2, 1)
    assert (await database.read(counts))["b"] == 1


async def test_what_should_not_be_written_while_something_is_there_is_left_to_who_locks(database: Database) -> None:
    held = "SELECT 1 FROM kinds"

    def work(connection: sa.Connection) -> None:
        add_exactly(connection, 1, "a", unless=held)

    tried = Tried(work)
    await database.write(lambda connection: rows.insert(connection, kinds, [kind(1)]))
    await database.write(tried, optimistic=True)
    assert (tried.optimistically, tried.with_locks) == (1, 1)
    assert await database.read(counts) == {}
    await database.write(lambda connection: rows.later(connection, kinds, sa.delete(kinds), {}))
    await database.write(tried, optimistic=True)
    assert (tried.optimistically, tried.with_locks) == (2, 1)
    assert await database.read(counts) == {"a": 1}


def _reads_what_it_wrote(connection: sa.Connection) -> None:
    rows.insert_ignoring(connection, things, [{"name": "a", "stock": 1}])
    connection.execute(COUNTS)


def _locks(connection: sa.Connection) -> None:
    connection.execute(COUNTS.with_for_update())


def _changes_at_once(connection: sa.Connection) -> None:
    connection.execute(EMPTY, {"names": ["a"]})


def _speaks_to_the_driver(connection: sa.Connection) -> None:
    connection.exec_driver_sql("DELETE FROM things")


def _changes_one_table_twice(connection: sa.Connection) -> None:
    rows.update(connection, things, [{"name": "a", "stock": 2}], ["name"])
    rows.later(connection, things, EMPTY, {"names": ["a"]})


def _changes_many_one_by_one(connection: sa.Connection) -> None:
    connection.execute(sa.insert(things), [{"name": "x", "stock": 1}, {"name": "y", "stock": 1}])


@pytest.mark.parametrize(
    "work",
    [
        _reads_what_it_wrote,
        _locks,
        _changes_at_once,
        _speaks_to_the_driver,
        _changes_one_table_twice,
        _changes_many_one_by_one,
    ],
)
async def test_what_cannot_be_done_without_locks_is_done_with_them(database: Database, work: Work) -> None:
    await database.write(lambda connection: rows.insert(connection, things, [{"name": "a", "stock": 1}]))
    before = await database.read(counts)

    def undone(connection: sa.Connection) -> None:
        work(connection)
        if not isinstance(connection, OptimisticConnection):
            raise LookupError("on purpose")

    with pytest.raises(LookupError):
        await database.write(undone, optimistic=True)
    # What was tried without locks has left nothing behind.
    assert await database.read(counts) == before
    tried = Tried(work)
    await database.write(tried, optimistic=True)
    assert (tried.optimistically, tried.with_locks) == (1, 1)


async def test_a_fault_that_locks_do_not_mend_is_told(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        rows.insert(connection, kinds, [kind(1)])
        rows.insert(connection, things, [{"name": "a", "stock": -1}])

    tried = Tried(work)
    with pytest.raises(sa.exc.IntegrityError, match="SQL parameters hidden"):
        await database.write(tried, optimistic=True)
    assert (tried.optimistically, tried.with_locks) == (1, 1)
    # The connection that was used is as good as before.
    await database.write(lambda connection: rows.insert(connection, things, [{"name": "a", "stock": 1}]))
    assert await database.read(counts) == {"a": 1}
