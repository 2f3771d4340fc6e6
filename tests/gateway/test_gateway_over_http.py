"""The gateway with real sockets on both sides: a uvicorn in front, and another behind an HttpPeer."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from orderwright.kernel.httppeer import HttpPeer
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.resilience import BreakerState
from orderwright.kernel.server import Door
from tests.gateway.bench import GatewayBench, SmallService


@asynccontextmanager
async def over_http(bench: GatewayBench) -> AsyncIterator[tuple[httpx2.AsyncClient, Door]]:
    """A client of the gateway, whose order service is behind a socket; and that socket's door."""
    async with AsyncExitStack() as stack:
        service = Door("order", bench.services["order"].app, "127.0.0.1", 0, stop_timeout_s=1)
        front = Door("gateway", bench.gateway.app, "127.0.0.1", 0, stop_timeout_s=1)
        for door in (service, front):
            await door.open()
            stack.push_async_callback(door.shut)
        peer = HttpPeer("order", service.address, clock=bench.clock, ids=SeededIds(3), metrics=bench.metrics)
        stack.push_async_callback(peer.close)
        bench.apps["order"] = peer
        client = httpx2.AsyncClient(
            base_url=front.address, trust_env=False, timeout=10, headers={"Authorization": f"Bearer {bench.token()}"}
        )
        yield await stack.enter_async_context(client), service


async def test_requests_and_answers_pass_two_sockets_unchanged() -> None:
    bench = GatewayBench()
    body = bytes(range(256)) * 512
    bench.services["order"].will(Response(body, 201, {"ETag": '"1"'}, "application/octet-stream"))
    async with over_http(bench) as (client, _):
        got = await client.post("/api/v1/orders/a%20b?x=%2F", content=body, headers={"Idempotency-Key": "k-1"})
        empty = await client.delete("/api/v1/orders/o-1")
    assert (got.status_code, got.content, got.headers["etag"]) == (201, body, '"1"')
    assert len(got.headers.get_list("date")) == len(got.headers.get_list("x-request-id")) == 1
    assert "server" not in got.headers
    heard, second = bench.heard("order")
    assert (heard.method, heard.path, heard.raw_path, heard.query) == (
        "POST",
        "/orders/a b",
        b"/orders/a%20b",
        b"x=%2F",
    )
    assert (heard.body, heard.header("idempotency-key")) == (body, ["k-1"])
    assert heard.header("x-forwarded-for") == ["127.0.0.1"]
    assert heard.header("x-request-id") == [got.headers["x-request-id"]]
    assert (empty.status_code, second.method) == (200, "DELETE")


async def test_an_answer_that_is_compressed_stays_as_it_is() -> None:
    bench, packed = GatewayBench(), gzip.compress(b"{}")
    bench.services["order"].will(Response(packed, 200, {"Content-Encoding": "gzip"}))
    async with over_http(bench) as (client, _), client.stream("GET", "/api/v1/orders/o-1") as got:
        assert b"".join([piece async for piece in got.aiter_raw()]) == packed
        assert (got.headers["content-encoding"], got.headers["content-length"]) == ("gzip", str(len(packed)))


@pytest.mark.parametrize("sent", ["Grüße".encode(), "Grüße".encode("latin-1")])
async def test_a_header_that_is_no_ascii_arrives_as_utf_8(sent: bytes) -> None:
    bench = GatewayBench()
    async with over_http(bench) as (client, _):
        assert (await client.post("/api/v1/orders", headers={b"X-Note": sent})).status_code == 200
    assert bench.heard("order")[0].header("x-note") == ["Grüße"]


async def test_a_client_that_expects_to_be_asked_for_its_body_is_asked_here() -> None:
    bench = GatewayBench()
    async with over_http(bench) as (client, _):
        got = await client.post("/api/v1/orders", content=b"{}", headers={"Expect": "100-continue"})
    assert got.status_code == 200
    heard = bench.heard("order")[0]
    assert (heard.body, heard.header("expect")) == (b"{}", [])


async def test_a_connection_outlives_the_minute_for_which_load_balancers_keep_it() -> None:
    async with over_http(GatewayBench()) as (client, service):
        await client.post("/api/v1/orders")
        kept: Any
        [kept] = service.server_state.connections
        assert kept.timeout_keep_alive_task.when() - asyncio.get_running_loop().time() > 60


async def test_a_chunked_body_arrives_whole() -> None:
    bench = GatewayBench()

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"a"', b": 1", b"}"):
            yield piece

    async with over_http(bench) as (client, _):
        assert (await client.post("/api/v1/orders", content=pieces())).status_code == 200
    assert bench.heard("order")[0].body == b'{"a": 1}'


async def test_a_stream_comes_piece_by_piece_and_its_end_reaches_the_service() -> None:
    bench, go_on, ended = GatewayBench(), asyncio.Event(), asyncio.Event()

    async def talk(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"data: 1\n\n"
                await go_on.wait()
                yield b"data: 2\n\n"
                await asyncio.Event().wait()
            finally:
                ended.set()

        return StreamingResponse(pieces(), media_type="text/event-stream")

    bench.services["order"].will(talk)
    async with over_http(bench) as (client, _), asyncio.timeout(5):
        async with client.stream("GET", "/api/v1/orders/o-1/stream") as got:
            incoming = got.aiter_raw()
            assert (got.headers["content-type"], await anext(incoming)) == (
                "text/event-stream; charset=utf-8",
                b"data: 1\n\n",
            )
            go_on.set()
            assert await anext(incoming) == b"data: 2\n\n"
        # Nothing more is ever sent, so only the client's going away can end it.
        await ended.wait()
        assert ended.is_set()


async def test_a_service_that_is_gone_is_answered_for_and_a_safe_request_tried_twice() -> None:
    bench = GatewayBench()
    async with over_http(bench) as (client, service):
        assert (await client.get("/api/v1/orders")).status_code == 200
        await service.shut()
        for method in ("GET", "POST"):
            async with asyncio.timeout(5):
                got = await client.request(method, "/api/v1/orders")
            assert (got.status_code, got.headers["retry-after"]) == (503, "1")
            assert got.json()["type"].endswith("/unavailable")
        assert bench.peers.breaker("order").snapshot()["failures"] == 3


async def test_a_failed_read_is_repeated_over_http_too() -> None:
    bench = GatewayBench()
    bench.services["order"].will(Response("broken", 503))
    async with over_http(bench) as (client, _), asyncio.timeout(5):
        assert (await client.get("/api/v1/orders")).status_code == 200
    # Between the two it may have been asked how it is.
    assert [heard.path for heard in bench.heard("order") if heard.path != "/ready"] == ["/orders", "/orders"]


async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too() -> None:
    bench = GatewayBench()

    async def half(_: Request) -> Response:
        return Response(b"half", headers={"Content-Length": "8"})

    bench.services["order"].will(half)
    async with over_http(bench) as (client, _):
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/api/v1/orders")


@asynccontextmanager
async def two_replicas(bench: GatewayBench) -> AsyncIterator[list[Door]]:
    """Doors of two order services that the gateway knows."""
    async with AsyncExitStack() as stack:
        doors = [Door("order", bench.services["order"].app, "127.0.0.1", 0, stop_timeout_s=1) for _ in range(2)]
        for door in doors:
            await door.open()
            stack.push_async_callback(door.shut)
        addresses = ",".join(door.address for door in doors)
        peer = HttpPeer("order", addresses, clock=bench.clock, ids=SeededIds(3), metrics=bench.metrics)
        stack.push_async_callback(peer.close)
        bench.apps["order"] = peer
        yield doors


async def test_one_of_two_replicas_may_go_away_and_nobody_notices() -> None:
    bench = GatewayBench()
    async with two_replicas(bench) as doors, asyncio.timeout(20):
        for door in (None, doors[0]):
            if door is not None:
                await door.shut()
            got = [await bench.call(method, "/api/v1/orders") for method in ("GET", "POST") * 15]
            assert {answer.status for answer in got} == {200}
        assert len(bench.heard("order")) == 60
        assert bench.peers.breaker("order").snapshot()["failures"] == 0
        assert (await bench.call("GET", "/ready", caller=None)).json["checks"]["order"] == "ok"
        got_metrics = await bench.call("GET", "/metrics", caller=None)
        assert b'orderwright_replicas_left_out{service="order"} 1.0' in got_metrics.body


async def test_the_gateway_says_which_service_has_no_replica_left() -> None:
    bench = GatewayBench()
    async with two_replicas(bench) as doors, asyncio.timeout(20):
        for door in doors:
            await door.shut()
        got = await bench.call("GET", "/ready", caller=None)
        assert (got.status, got.json["checks"]["order"]) == (503, "No replica of the order service answers")
        assert got.json["checks"]["cart"] == "ok"
        refused = await bench.call("GET", "/api/v1/orders")
        assert (refused.status, refused.header("retry-after")) == (503, "1")


async def test_a_replica_that_only_fails_is_left_out_before_the_services_breaker_opens() -> None:
    bench, bad = GatewayBench(), SmallService("order")

    async def fail(_: Request) -> Response:
        return Response("broken", 500)

    bad.will(*[fail] * 100)
    door = Door("order", bad.app, "127.0.0.1", 0, stop_timeout_s=1)
    await door.open()
    async with two_replicas(bench) as doors, asyncio.timeout(20):
        peer = HttpPeer(
            "order",
            f"{door.address},{doors[0].address}",
            clock=bench.clock,
            ids=SeededIds(3),
            metrics=bench.metrics,
        )
        bench.apps["order"] = peer
        statuses = [(await bench.call("POST", "/api/v1/orders")).status for _ in range(60)]
        assert (statuses.count(500), statuses.count(200)) == (3, 57)
        assert bench.peers.breaker("order").state is BreakerState.CLOSED
        await peer.close()
    await door.shut()


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://evil.example/api/v1/contacts HTTP/1.1",
        b"GET /api/v1/orders/../contacts HTTP/1.1",
        b"GET /api/v1/orders/%2e%2e/contacts HTTP/1.1",
        b"GET //contacts HTTP/1.1",
        b"GET /api/v1/orders/\xff\xfe HTTP/1.1",
        b"GET /api/v1/contacts?x HTTP/1.1",
        b"GET /api/v1/contacts#x HTTP/1.1",
        b"GET /api/v1/contacts/../contacts HTTP/1.1",
    ],
)
async def test_a_request_line_that_no_client_library_would_write_reaches_nobody(line: bytes) -> None:
    bench = GatewayBench()
    async with over_http(bench) as (client, _), asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        token = bench.token().encode()
        writer.write(line + b"\r\nHost: x\r\nAuthorization: Bearer " + token + b"\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.split(b" ")[1] in {b"400", b"404"}, answer
    assert all(not service.heard for service in bench.services.values())
