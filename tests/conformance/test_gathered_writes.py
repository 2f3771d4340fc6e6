"""Writes whose answer nobody needs: on PostgreSQL they travel together, and nobody can tell."""

from typing import Any

import pytest
import sqlalchemy as sa

from orderwright.kernel import rows
from orderwright.kernel.database import Database
from tests.conformance.shelf import COUNTS, EMPTY, counts, kind, kinds, things

OFTEN = 5
"""From the third time on, statements take the short way to the driver, and only then they travel together."""
KINDS = sa.select(sa.func.count()).select_from(kinds)


def kinds_there(connection: sa.Connection) -> int:
    return int(connection.execute(KINDS).scalar_one())


async def test_what_is_asked_after_a_write_finds_it_done(database: Database) -> None:
    def work(connection: sa.Connection) -> list[object]:
        rows.insert(connection, things, [{"name": "a", "stock": 1}])
        rows.insert(connection, kinds, [kind(1)])
        before = counts(connection), kinds_there(connection)
        rows.update(connection, things, [{"name": "a", "stock": 2}], ["name"])
        between = counts(connection)
        rows.later(connection, things, EMPTY, {"names": ["a"]})
        rows.later(connection, kinds, sa.delete(kinds), {})
        return [before, between, counts(connection), kinds_there(connection)]

    for _ in range(OFTEN):
        assert await database.write(work) == [({"a": 1}, 1), {"a": 2}, {}, 0]


async def test_writes_to_one_table_are_done_one_after_the_other(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        rows.insert(connection, things, [{"name": "a", "stock": 1}, {"name": "b", "stock": 1}])
        rows.update(connection, things, [{"name": "a", "stock": 2}], ["name"])
        rows.insert_ignoring(connection, things, [{"name": "a", "stock": 3}, {"name": "c", "stock": 3}])
        rows.insert_updating(connection, things, [{"name": "c", "stock": 4}], ["name"], ["stock"])
        rows.later(connection, things, EMPTY, {"names": ["b"]})

    for _ in range(OFTEN):
        await database.write(work)
        assert await database.read(counts) == {"a": 2, "c": 4}
        await database.write(lambda connection: rows.later(connection, things, EMPTY, {"names": ["a", "c"]}))


async def test_what_is_written_last_is_committed_or_rolled_back_with_the_rest(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        rows.insert(connection, things, [{"name": "a", "stock": 1}])
        rows.insert(connection, kinds, [kind(1)])

    def fail(connection: sa.Connection) -> None:
        work(connection)
        raise ArithmeticError

    def fail_late(connection: sa.Connection) -> None:
        connection.execute(COUNTS)
        rows.insert(connection, kinds, [kind(1)])
        rows.insert(connection, things, [{"name": "a", "stock": -1}])

    for _ in range(OFTEN):
        with pytest.raises(ArithmeticError):
            await database.write(fail)
        with pytest.raises(sa.exc.IntegrityError, match="SQL parameters hidden"):
            await database.write(fail_late)
        assert (await database.read(counts), await database.read(kinds_there)) == ({}, 0)
        await database.write(work)
        assert (await database.read(counts), await database.read(kinds_there)) == ({"a": 1}, 1)
        await database.write(lambda connection: rows.later(connection, things, EMPTY, {"names": ["a"]}))
        await database.write(lambda connection: rows.later(connection, kinds, sa.delete(kinds), {}))


async def test_one_write_that_is_refused_takes_its_companions_with_it(database: Database) -> None:
    await database.write(lambda connection: rows.insert(connection, kinds, [kind(1)]))

    def work(connection: sa.Connection) -> None:
        rows.insert(connection, things, [{"name": "a", "stock": 1}])
        rows.insert(connection, kinds, [kind(1)])

    for _ in range(OFTEN):
        with pytest.raises(sa.exc.IntegrityError):
            await database.write(work)
        assert await database.read(counts) == {}


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize("optimistic", [False, True], ids=["with locks", "optimistic"])
async def test_a_write_that_reads_what_travels_with_it_is_refused(database: Database, optimistic: bool) -> None:
    counting = sa.update(things).values(stock=sa.select(sa.func.count()).select_from(kinds).scalar_subquery())

    def work(connection: sa.Connection) -> None:
        rows.insert(connection, kinds, [kind(1)])
        rows.later(connection, things, counting, {})

    async def work_often() -> None:
        for _ in range(OFTEN):
            await database.write(work, optimistic=optimistic)
            await database.write(lambda connection: rows.later(connection, kinds, sa.delete(kinds), {}))

    with pytest.raises(ValueError, match="A write to things reads kinds"):
        await work_often()


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_on_postgresql_all_that_is_written_is_one_statement_without_begin(
    database: Database, other: Database
) -> None:
    def work(connection: sa.Connection) -> None:
        rows.insert_ignoring(connection, things, [{"name": "a", "stock": 1}])
        rows.insert_ignoring(connection, kinds, [kind(1)])

    def last_words(connection: sa.Connection) -> list[Any]:
        query = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return list(connection.execute(sa.text(query)).scalars())

    for _ in range(OFTEN):
        await database.write(work)
    told = await other.glance(last_words)
    assert [text.count("INSERT INTO") for text in told] == [2]
