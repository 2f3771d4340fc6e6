"""What a database's outages are to those who use it."""

import asyncio

import pytest
import sqlalchemy as sa

from orderwright.kernel import rows
from orderwright.kernel.database import Database, open_database
from orderwright.kernel.databases import postgres
from orderwright.kernel.errors import DatabaseUnavailable
from tests.brokers import own_server
from tests.conformance.shelf import add, change, counts, things
from tools.proxy import proxy

PATIENCE_S = 60


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_a_restart_of_postgres_is_an_outage_that_ends_by_itself(database: Database) -> None:
    await database.write(lambda connection: add(connection, "a"))
    committed, refused = 0, 0
    restarting = asyncio.create_task(asyncio.to_thread(own_server("postgres").restart, kill=True))
    async with asyncio.timeout(PATIENCE_S):
        while not (restarting.done() and committed >= 20):
            try:
                await database.write(lambda connection: change(connection, "a", 1))
                committed += 1
            except DatabaseUnavailable:
                refused += 1
                await asyncio.sleep(0.02)
    await restarting
    # A COMMIT whose answer was lost may have been carried out.
    assert committed <= (await database.read(counts))["a"] <= committed + refused


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_connections_that_fell_silent_hold_up_one_caller_and_not_each_in_turn(
    url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "COMMAND_TIMEOUT_S", 1.0)
    await database.write(lambda connection: add(connection, "a"))
    there = sa.make_url(url)
    async with proxy(str(there.host), there.port or 0) as link:
        through = open_database(there.set(port=link.port).render_as_string(hide_password=False), "order")
        # As many connections at once as the pool holds.
        await asyncio.gather(*(through.read(counts) for _ in range(postgres.CONNECTIONS)))
        link.forget()
        refused = 0
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    assert await through.read(counts) == {"a": 0}
                    break
                except DatabaseUnavailable:
                    refused += 1
        await through.close()
    assert refused == 1


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize("optimistic", [False, True])
async def test_a_server_that_became_a_standby_is_away_for_those_who_write(
    url: str, database: Database, optimistic: bool
) -> None:
    def work(connection: sa.Connection) -> None:
        rows.insert(connection, things, [{"name": "a", "stock": 1}])

    def become_standby(connection: sa.Connection) -> None:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

    await database.write(become_standby)
    standby = open_database(url, "order")
    try:
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await standby.write(work, optimistic=optimistic)
        assert await standby.read(counts) == {}
    finally:
        await standby.close()


async def test_a_database_that_is_not_there_is_an_outage_and_not_a_fault() -> None:
    database = open_database("postgresql://nobody@127.0.0.1:1/nothing", "order")
    for attempt in (database.ping(), database.read(counts), database.glance(counts), database.create()):
        with pytest.raises(DatabaseUnavailable):
            await attempt
    await database.close()


async def test_a_server_that_cannot_take_a_connection_is_an_outage_and_not_a_fault() -> None:
    said = b"SFATAL\0VFATAL\0CXX000\0Mcould not write init file\0\0"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What PostgreSQL says while its disk is full (15.18)."""
        length = int.from_bytes(await reader.readexactly(4))
        if length == 8:
            # The client asks for TLS first.
            await reader.readexactly(4)
            writer.write(b"N")
            length = int.from_bytes(await reader.readexactly(4))
        await reader.readexactly(length - 4)
        writer.write(b"E" + (len(said) + 4).to_bytes(4) + said)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    database = open_database(f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/x", "order")
    for attempt in (database.read(counts), database.write(lambda connection: add(connection, "a"))):
        with pytest.raises(DatabaseUnavailable, match="could not write init file"):
            await attempt
    await database.close()
    server.close()
