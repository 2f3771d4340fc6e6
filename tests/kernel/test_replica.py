"""One replica: what is sent to it, how far that came, and what aiohttp does at odd moments."""

import ssl

import aiohttp
import pytest

from orderwright.kernel.addressing import Origin
from orderwright.kernel.errors import Unavailable
from orderwright.kernel.replica import ConnectionEnded, Replica, Trip
from tests.kernel.machines import Fleet, Machine, Mood, until


def replica_at(port: int) -> Replica:
    """The replica at a port of this machine."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return Replica(Origin("http", "127.0.0.1", port, ""), "127.0.0.1", tls, 1.0)


async def test_a_trip_tells_how_far_a_request_came() -> None:
    machine = Machine()
    await machine.open()
    replica = replica_at(machine.port)
    trips = [Trip() for _ in range(4)]
    for trip in trips[:2]:
        response = await replica.send("POST", b"/orders", [], b"{}", trip, lasts=False)
        assert (await response.read(), trip.sent) == (b"four", True)
    assert [trip.connected for trip in trips[:2]] == [True, False]
    machine.mood = Mood.RESETTING
    with pytest.raises(ConnectionEnded):
        await replica.send("GET", b"/orders", [], b"", trips[2], lasts=False)
    assert (machine.heard, trips[2].sent) == (["POST /orders", "POST /orders", "GET /orders"], True)
    await machine.kill()
    with pytest.raises(aiohttp.ClientConnectorError):
        await replica.send("GET", b"/orders", [], b"", trips[3], lasts=False)
    assert (trips[3].connected, trips[3].sent) == (False, False)
    await replica.close()


async def test_nothing_is_added_to_a_request_and_checks_have_connections_of_their_own() -> None:
    machine = Machine()
    await machine.open()
    replica = replica_at(machine.port)
    for _ in range(2):
        assert await replica.ask_ready() == 200
        await until(lambda: not machine.is_connected)
    response = await replica.send("POST", b"/orders", [(b"x-note", b"1")], b"{}", Trip(), lasts=False)
    await response.read()
    assert machine.headers == [{"host": f"127.0.0.1:{machine.port}", "content-length": "2", "x-note": "1"}]
    assert machine.is_connected
    await replica.close()
    await machine.kill()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_connection_that_had_ended_before_it_was_written_to_took_nothing(wrapped: bool) -> None:
    closed = aiohttp.ClientConnectionResetError("Cannot write to closing transport")
    error: Exception = closed
    if wrapped:
        # So it comes where there is a body, which aiohttp writes in a task of its own.
        error = aiohttp.ClientOSError(None, "Can not write request body")
        error.__cause__ = closed
    assert ConnectionEnded(error).took_nothing
    assert not ConnectionEnded(aiohttp.ServerDisconnectedError()).took_nothing


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_ends_as_soon_as_it_is_made_is_a_service_that_does_not_answer(method: str) -> None:
    async with Fleet(1).running() as fleet:
        fleet.machines[0].mood = Mood.SLAMMING
        for _ in range(20):
            with pytest.raises(Unavailable):
                await fleet.ask(method)
        assert fleet.machines[0].heard == []
