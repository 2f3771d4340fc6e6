"""The contract of the database port, for SQLite, PostgreSQL, and PostgreSQL behind PgBouncer in transaction mode."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orderwright.kernel import rows
from orderwright.kernel.database import Database, open_database
from orderwright.kernel.errors import ConfigurationError
from tests.conformance.shelf import add, add_all, change, counts, kinds, metadata, things
from tests.databases import fresh_databases

PATIENCE_S = 60
OFTEN = 5
ID = "019b0000-001d-7000-a35c-8c41f77383c1"


async def test_what_was_written_is_there_and_what_failed_is_not(database: Database, other: Database) -> None:
    await database.write(lambda connection: add(connection, "kept"))

    def fail(connection: sa.Connection) -> None:
        add(connection, "lost")
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        await database.write(fail)
    assert await other.read(counts) == {"kept": 0}


async def test_a_glance_sees_what_others_have_committed_and_leaves_nothing_open(
    database: Database, other: Database
) -> None:
    await other.write(lambda connection: add(connection, "a"))
    assert await database.glance(counts) == {"a": 0}
    assert await other.write(lambda connection: change(connection, "a", 3)) == 1
    assert await database.glance(counts) == {"a": 3}
    # Where a glance left its connection as it was, a transaction on the same one is a transaction again.
    assert await database.write(lambda connection: change(connection, "a", 4)) == 1

    def fail(connection: sa.Connection) -> None:
        change(connection, "a", 100)
        raise LookupError("on purpose")

    for _ in range(10):
        with pytest.raises(LookupError):
            await database.write(fail)
    assert await database.glance(counts) == {"a": 7}


async def test_a_caller_that_goes_away_does_not_undo_its_work(database: Database) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(connection: sa.Connection) -> None:
        add(connection, "done")
        loop.call_soon_threadsafe(begun.set)
        if threading.current_thread() is not threading.main_thread():
            assert go_on.wait(PATIENCE_S)

    caller = asyncio.create_task(database.write(work))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    caller.cancel()
    go_on.set()
    await asyncio.gather(caller, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_S):
        while await database.read(counts) != {"done": 0}:
            await asyncio.sleep(0.01)


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        await database.read(lambda connection: add(connection, "no"))
    assert await database.read(counts) == {}


async def test_a_conditional_change_never_takes_more_than_there_is(database: Database, other: Database) -> None:
    await database.write(lambda connection: add(connection, "last ones", 10))
    takers = [who.write(lambda connection: change(connection, "last ones", -1)) for who in (database, other) * 25]
    taken = await asyncio.gather(*takers)
    assert (sum(taken), await database.read(counts)) == (10, {"last ones": 0})


async def test_a_check_holds_whatever_the_code_does(database: Database) -> None:
    await database.write(lambda connection: add(connection, "a", 1))
    with pytest.raises(sa.exc.IntegrityError):
        await database.write(lambda c: c.execute(sa.update(things).values(stock=things.c.stock - 2)))


async def test_two_who_lock_in_opposite_order_both_get_done(database: Database, other: Database) -> None:
    await database.write(lambda connection: add_all(connection, ("a", "b"), 100))

    async def swap(who: Database, first: str, second: str) -> None:
        def work(connection: sa.Connection) -> None:
            change(connection, first, -1)
            change(connection, second, 1)

        for _ in range(5):
            await who.write(work)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(swap(database, "a", "b"), swap(other, "b", "a"))
    assert await database.read(counts) == {"a": 100, "b": 100}


async def test_claimed_rows_are_nobody_elses(database: Database, other: Database) -> None:
    await database.write(lambda connection: add_all(connection, (f"{n:03}" for n in range(100))))

    def claim(connection: sa.Connection) -> list[str]:
        free = sa.select(things.c.name).where(things.c.stock == 0).order_by(things.c.name).limit(7)
        chosen = things.c.name.in_(free.with_for_update(skip_locked=True))
        return list(
            connection.execute(sa.update(things).where(chosen).values(stock=1).returning(things.c.name)).scalars()
        )

    claimed: list[str] = []
    while len(claimed) < 100:
        for share in await asyncio.gather(database.write(claim), other.write(claim), database.write(claim)):
            claimed.extend(share)
    assert sorted(claimed) == [f"{n:03}" for n in range(100)]


async def test_new_rows_are_told_and_known_ones_are_left(database: Database) -> None:
    await database.write(lambda connection: add(connection, "old"))
    offered = [{"name": name, "stock": 1} for name in ("old", "new", "new")]
    added = await database.write(lambda connection: rows.insert_new(connection, things, offered, ["name", "stock"]))
    assert [tuple(row) for row in added] == [("new", 1)]
    await database.write(lambda connection: rows.insert_ignoring(connection, things, [{"name": "old", "stock": 9}]))
    assert await database.read(counts) == {"old": 0, "new": 1}
    with pytest.raises(sa.exc.IntegrityError):
        await database.write(lambda connection: rows.insert(connection, things, offered[:1]))


async def test_what_is_there_is_updated_where_that_was_asked_for(database: Database) -> None:
    both = [{"name": "a", "stock": 1}, {"name": "b", "stock": 2}]
    await database.write(lambda connection: add(connection, "a"))
    await database.write(lambda connection: rows.insert_updating(connection, things, both, ["name"], ["stock"]))
    assert await database.read(counts) == {"a": 1, "b": 2}
    changes = [{"name": "b", "stock": 5}, {"name": "nobody", "stock": 5}]
    await database.write(lambda connection: rows.update(connection, things, changes, ["name"]))
    assert await database.read(counts) == {"a": 1, "b": 5}


async def test_a_row_is_updated_only_if_it_is_still_what_it_was(database: Database) -> None:
    await database.write(lambda connection: add_all(connection, ("a", "b"), 3))
    given = [{"name": "a", "stock": 4, "before": 3}, {"name": "b", "stock": 4, "before": 2}]
    still = "things.stock = given.before"
    await database.write(lambda connection: rows.update(connection, things, given, ["name"], still))
    assert await database.read(counts) == {"a": 4, "b": 3}


async def test_a_change_of_many_rows_skips_those_for_which_it_does_not_hold(database: Database) -> None:
    await database.write(lambda connection: add_all(connection, ("a", "b", "c"), 3))
    wanted = [{"name": name, "n": n} for name, n in (("a", 3), ("b", 4), ("nobody", 1))]

    def take(connection: sa.Connection) -> int:
        return rows.change(connection, things, wanted, ["name"], "stock = stock - given.n", "stock >= given.n")

    assert await database.write(take) == 1
    assert await database.read(counts) == {"a": 0, "b": 3, "c": 3}


async def test_nothing_is_added_while_something_else_is_there(database: Database) -> None:
    wanted = [{"name": "b", "stock": 1}, {"name": "c", "stock": 1}]
    unless = "SELECT 1 FROM kinds"

    def ask(connection: sa.Connection) -> list[Any]:
        return [row.name for row in rows.insert_new(connection, things, wanted, ["name"], unless)]

    await database.write(lambda connection: rows.insert(connection, kinds, [{"id": ID}]))
    assert await database.write(ask) == []
    await database.write(lambda connection: connection.execute(sa.delete(kinds)))
    assert await database.write(ask) == ["b", "c"]


async def test_a_row_that_lacks_what_the_first_one_has_is_a_fault(database: Database) -> None:
    lacking: list[dict[str, Any]] = [{"id": ID, "amount": Decimal(1)}, {"id": ID.replace("019b", "019c")}]
    with pytest.raises((KeyError, sa.exc.StatementError), match="amount"):
        await database.write(lambda connection: rows.insert(connection, kinds, lacking))


async def test_no_rows_are_no_work(database: Database) -> None:
    def nothing(connection: sa.Connection) -> list[object]:
        rows.insert(connection, things, [])
        rows.insert_updating(connection, things, [], ["name"], ["stock"])
        rows.update(connection, things, [], ["name"])
        return [
            rows.insert_new(connection, things, [], ["name"]),
            rows.change(connection, things, [], ["name"], "stock = 0", "true"),
            connection.execute(sa.select(things).where(rows.one_of(things.c.name, []))).all(),
        ]

    assert await database.write(nothing) == [[], 0, []]


async def test_values_come_back_as_they_were_stored(database: Database) -> None:
    at = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    document = {"name": "☃", "list": [1, None, {"deep": True}], "text": "9007199254740993"}
    row = {"id": ID, "at": at, "amount": Decimal("9999999999.9900"), "document": document, "body": b"\x00\xff"}
    empty: dict[str, object] = {
        "id": ID.replace("019b", "019c"),
        "at": None,
        "amount": None,
        "document": ["a", ["list"]],
        "body": None,
    }
    await database.write(lambda connection: rows.insert(connection, kinds, [row, empty]))
    chosen = sa.select(kinds).where(rows.one_of(kinds.c.id, [ID, empty["id"]])).order_by(kinds.c.id)
    for _ in range(OFTEN):
        stored, nothing = await database.read(lambda c: [dict(found) for found in c.execute(chosen).mappings()])
        assert (stored, nothing) == ({**row, "at": at.astimezone(UTC)}, empty)
        assert str(stored["amount"]) == "9999999999.9900"


async def test_a_statement_says_each_time_what_it_found_and_changed(database: Database) -> None:
    texts: dict[str, Any] = {
        "added": sa.text("INSERT INTO things (name, stock) VALUES (:name, 3)"),
        "changed": sa.text("UPDATE things SET stock = stock + 1 WHERE name = :name"),
        "found": sa.text("SELECT name, stock AS left FROM things WHERE name = :name"),
        "answered": sa.text("DELETE FROM things WHERE name = :name RETURNING stock").columns(things.c.stock),
    }

    def go_through(connection: sa.Connection) -> dict[str, object]:
        results = {name: connection.execute(text, {"name": "a"}) for name, text in texts.items()}
        [found] = results["found"].mappings().all()
        return {
            "changed": results["changed"].rowcount,
            "found": dict(found),
            "answered": results["answered"].scalars().all(),
            "many": connection.execute(sa.select(things.c.name)).first(),
        }

    for _ in range(OFTEN):
        told = {"changed": 1, "found": {"name": "a", "left": 4}, "answered": [4], "many": None}
        assert await database.write(go_through) == told


async def test_what_is_refused_is_refused_each_time_in_the_same_way(database: Database) -> None:
    again = sa.insert(things).values(name=sa.bindparam("name"), stock=sa.bindparam("stock"))
    await database.write(lambda connection: add(connection, "a"))
    for _ in range(OFTEN):
        with pytest.raises(sa.exc.IntegrityError, match="SQL parameters hidden"):
            await database.write(lambda connection: connection.execute(again, {"name": "a", "stock": 1}))
        with pytest.raises(sa.exc.IntegrityError):
            await database.write(lambda connection: connection.execute(again, {"name": "b", "stock": -1}))
        with pytest.raises(sa.exc.DBAPIError):
            await database.read(lambda connection: change(connection, "a", 1))
    assert await database.read(counts) == {"a": 0}


async def test_what_is_no_id_is_nobodys(database: Database) -> None:
    query = sa.select(kinds.c.id).where(rows.one_of(kinds.c.id, ["nobody", "'; --", ""]))
    assert await database.read(lambda connection: connection.execute(query).all()) == []


@pytest.mark.parametrize("also", [sa.true(), things.c.stock > 0])
async def test_a_list_of_ids_is_looked_up_in_the_index(tmp_path: Path, also: sa.ColumnElement[bool]) -> None:
    with fresh_databases("sqlite", tmp_path) as url:
        database = open_database(url, "order")
        await database.create()
        await database.write(metadata.create_all)
        where = sa.and_(rows.one_of(things.c.name, ["a", "b"]), also)

        def steps(connection: sa.Connection) -> list[str]:
            asked = sa.delete(things).where(where).compile(connection)
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ('["a"]', 0)[: len(asked.params)])
            return [row.detail for row in plan]

        assert (await database.read(steps))[0].startswith("SEARCH things USING INDEX")
        await database.close()


async def test_making_it_again_changes_nothing(url: str, database: Database, other: Database) -> None:
    await database.write(lambda connection: add(connection, "a"))
    await asyncio.gather(database.create(), other.create())
    assert await other.read(counts) == {"a": 0}


async def test_each_service_has_its_own(url: str, database: Database) -> None:
    payment = open_database(url, "payment")
    await payment.create()
    assert not await payment.read(lambda connection: sa.inspect(connection).has_table("things"))
    await payment.close()


async def test_many_at_once_wait_for_each_other(database: Database) -> None:
    await database.write(lambda connection: add(connection, "a"))
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(database.write(lambda connection: change(connection, "a", 1)) for _ in range(200)))
    assert await database.read(counts) == {"a": 200}


async def test_of_many_who_take_the_same_at_once_none_takes_what_is_gone(database: Database, other: Database) -> None:
    await database.write(lambda connection: add_all(connection, ("a", "b", "c"), 60))
    orders = [("a", "b", "c"), ("c", "b"), ("b", "a")]

    def take(connection: sa.Connection, names: tuple[str, ...]) -> int:
        wanted = [{"name": name, "n": 1} for name in names]
        return rows.change(connection, things, wanted, ["name"], "stock = stock - given.n", "stock >= given.n")

    async with asyncio.timeout(PATIENCE_S):
        taken = await asyncio.gather(
            *(
                chosen.write(lambda connection, names=names: take(connection, names))  # type: ignore[misc]
                for names in orders * 40
                for chosen in (database, other)
            )
        )
    assert await database.read(counts) == {"a": 0, "b": 0, "c": 0}
    assert sum(taken) == 180


@pytest.mark.parametrize(
    "url", ["postgresql://host", "postgresql://host/x?connections=many", "sqlite:folder", "oracle://x"]
)
def test_a_url_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_database(url, "order")
