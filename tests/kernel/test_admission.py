"""What the edge of a server refuses before anybody does work for it."""

import asyncio

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from orderwright.kernel.clock import SystemClock
from orderwright.kernel.edge import Edge
from orderwright.kernel.errors import Unavailable
from orderwright.kernel.ids import SystemIds
from orderwright.kernel.peers import Peers
from orderwright.kernel.resilience import FAILURES_TO_OPEN
from orderwright.kernel.telemetry import Metrics


class Slow:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.release()
        await self.go_on.wait()
        await PlainTextResponse("done")(scope, receive, send)


def _edge(app: Slow, room_for_peers: int = 0) -> Edge:
    return Edge(
        app,
        service="order",
        clock=SystemClock(),
        ids=SystemIds(),
        metrics=Metrics(),
        max_body_bytes=1024,
        timeout_s=30,
        max_at_once=2,
        room_for_peers=room_for_peers,
    )


def _client(app: Slow) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=_edge(app)), base_url="http://order")


async def _as_many_as_can_be(client: httpx2.AsyncClient, app: Slow) -> "list[asyncio.Task[httpx2.Response]]":
    """Customers who are being answered and leave no room for more."""
    running = [asyncio.create_task(client.get("/orders")) for _ in range(2)]
    for _ in running:
        await app.asked.acquire()
    return running


async def test_more_requests_than_can_be_answered_are_refused_at_once_and_there_is_room_again() -> None:
    app = Slow()
    async with _client(app) as client, asyncio.timeout(30):
        running = await _as_many_as_can_be(client, app)
        refused = await client.get("/orders", headers={"X-Request-Id": "mine"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert (refused.json()["status"], refused.headers["x-request-id"]) == (503, "mine")
        app.go_on.set()
        assert [(await answer).status_code for answer in running] == [200, 200]
        assert (await client.get("/orders")).status_code == 200


async def test_a_service_that_is_full_is_not_left_alone_for_it() -> None:
    app = Slow()
    edge = _edge(app)
    peers = Peers(lambda _: edge, SystemClock(), SystemIds())
    async with asyncio.timeout(30):
        running = [asyncio.create_task(peers.ask("order", "POST", "/orders")) for _ in range(2)]
        for _ in running:
            await app.asked.acquire()
        for _ in range(2 * FAILURES_TO_OPEN):
            with pytest.raises(Unavailable):
                await peers.ask("order", "POST", "/orders")
        app.go_on.set()
        assert [(await answer).status for answer in running] == [200, 200]
        assert (await peers.ask("order", "POST", "/orders")).status == 200


async def test_where_there_is_no_room_for_customers_a_service_still_finds_some() -> None:
    app = Slow()
    edge = _edge(app, room_for_peers=1)
    peers = Peers(lambda _: edge, SystemClock(), SystemIds(), caller="notification")
    transport = httpx2.ASGITransport(app=edge)
    async with httpx2.AsyncClient(transport=transport, base_url="http://order") as client, asyncio.timeout(30):
        customers = await _as_many_as_can_be(client, app)
        assert (await client.get("/orders")).status_code == 503
        peer = asyncio.create_task(peers.ask("order", "POST", "/orders/labels"))
        await app.asked.acquire()
        with pytest.raises(Unavailable):
            await peers.ask("order", "POST", "/orders/labels")
        app.go_on.set()
        assert [(await answer).status_code for answer in customers] == [200, 200]
        assert (await peer).status == 200


async def test_a_door_to_the_world_keeps_no_room_for_who_claims_to_be_a_service() -> None:
    app = Slow()
    async with _client(app) as client, asyncio.timeout(30):
        customers = await _as_many_as_can_be(client, app)
        refused = await client.get("/orders", headers={"X-Orderwright-Peer": "payment"})
        app.go_on.set()
        assert (refused.status_code, [(await answer).status_code for answer in customers]) == (503, [200, 200])


async def test_probes_and_streams_are_not_counted() -> None:
    app = Slow()
    async with _client(app) as client, asyncio.timeout(30):
        paths = ("/ready", "/metrics", "/health", "/orders/1/stream")
        uncounted = [asyncio.create_task(client.get(path)) for path in paths]
        for _ in uncounted:
            await app.asked.acquire()
        counted = asyncio.create_task(client.get("/orders"))
        await app.asked.acquire()
        app.go_on.set()
        assert [(await answer).status_code for answer in (*uncounted, counted)] == [200] * 5
