"""Passing requests on: nothing is lost or added, answers come as they are said, failures stay where they are."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from orderwright.kernel.errors import Unavailable
from orderwright.kernel.peers import UNCOUNTED
from orderwright.kernel.resilience import FAILURES_TO_OPEN, OPEN_FOR_S, BreakerState
from tests.gateway.bench import GatewayBench, Line
from tests.gateway.conftest import OpenBench

STREAM = "/api/v1/orders/o-1/stream"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
async def test_method_query_and_body_arrive_as_they_were_sent(method: str) -> None:
    bench = GatewayBench()
    await bench.call(method, "/api/v1/orders/a%20b", query="since=2026&x=%2F&x=2", body=b'{"a": "\xc3\xbc"}')
    [heard] = bench.heard("order")
    assert (heard.method, heard.path, heard.raw_path) == (method, "/orders/a b", b"/orders/a%20b")
    assert (heard.query, heard.body) == (b"since=2026&x=%2F&x=2", b'{"a": "\xc3\xbc"}')


async def test_a_body_in_pieces_arrives_whole_and_with_its_length() -> None:
    bench, line = GatewayBench(), Line()
    for piece in (b"one ", b"two "):
        line.say(piece, more=True)
    line.say(b"three")
    await bench.call("POST", "/api/v1/orders", headers=[("transfer-encoding", "chunked")], line=line)
    [heard] = bench.heard("order")
    assert heard.body == b"one two three"
    assert (heard.header("transfer-encoding"), heard.header("content-length")) == ([], ["13"])


async def test_a_client_that_goes_away_before_all_was_said_has_said_nothing() -> None:
    bench, line = GatewayBench(), Line()
    line.say(b'{"half":', more=True)
    line.hang_up()
    await bench.serve(bench.scope("POST", "/api/v1/orders"), line)
    assert line.outgoing.empty()
    assert not bench.heard("order")


async def test_headers_pass_both_ways_but_those_of_one_connection() -> None:
    bench = GatewayBench()
    answer = Response("{}", 201, {"ETag": '"7"', "Location": "/x", "Connection": "X-Hop", "X-Hop": "1", "Date": "then"})
    answer.headers.append("Link", "<a>")
    answer.headers.append("Link", "<b>")
    bench.services["order"].will(answer)
    sent = [
        ("Accept", "application/json"),
        ("Idempotency-Key", "k-1"),
        ("Connection", "keep-alive, X-Mine"),
        ("X-Mine", "1"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "Basic x"),
        ("Keep-Alive", "5"),
    ]
    got = await bench.call("POST", "/api/v1/orders", headers=sent)
    [heard] = bench.heard("order")
    assert heard.header("idempotency-key") == ["k-1"]
    for name in ("connection", "x-mine", "te", "upgrade", "proxy-authorization", "keep-alive"):
        assert heard.header(name) == [], name
    assert (got.status, got.header("etag"), got.header("location"), got.all("link")) == (
        201,
        '"7"',
        "/x",
        ["<a>", "<b>"],
    )
    assert got.all("connection") == got.all("x-hop") == got.all("date") == []


async def test_a_service_believes_only_what_the_gateway_says() -> None:
    bench = GatewayBench()
    lies = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Host", "evil"),
        ("X-Forwarded-Proto", "evil"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Orderwright-Roles", "admin"),
    ]
    await bench.call("GET", "/api/v1/orders", headers=lies, client="192.0.2.7")
    [heard] = bench.heard("order")
    assert heard.header("x-forwarded-for") == ["192.0.2.7"]
    for name, _ in lies[1:]:
        assert heard.header(name.lower()) == [], name


async def test_the_request_id_and_the_trace_go_on_and_the_id_comes_back_once() -> None:
    bench = GatewayBench()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    got = await bench.call("GET", "/api/v1/orders", headers=[("X-Request-Id", "mine-1"), ("traceparent", trace)])
    [heard] = bench.heard("order")
    assert (heard.header("x-request-id"), heard.header("traceparent")) == (["mine-1"], [trace])
    assert got.header("x-request-id") == "mine-1"
    other = await bench.call("GET", "/api/v1/orders", headers=[("X-Request-Id", "bad id\t"), ("traceparent", "junk")])
    made = bench.heard("order")[1]
    assert made.header("x-request-id") == [other.header("x-request-id")] != ["bad id\t"]
    assert len(made.header("traceparent")) == 1


async def test_a_stream_comes_piece_by_piece_and_has_no_time_limit(open_bench: OpenBench) -> None:
    bench, line, go_on = open_bench(upstream_timeout_s="0.05"), Line(), asyncio.Event()

    async def talk(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await go_on.wait()
            yield b"data: 2\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    bench.services["order"].will(talk)
    line.say(b"")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.serve(bench.scope("GET", STREAM), line))
        assert (await line.next())["status"] == 200
        assert (await line.next())["body"] == b"data: 1\n\n"
        await asyncio.sleep(0.15)
        assert line.outgoing.empty()
        go_on.set()
        assert (await line.next())["body"] == b"data: 2\n\n"


async def test_a_stream_ends_at_the_service_when_its_client_goes_away() -> None:
    bench, line, ended = GatewayBench(), Line(), asyncio.Event()

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        # Like a peer behind a socket, it does not listen for a disconnect.
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.Event().wait()
        finally:
            ended.set()

    bench.apps["order"] = deaf
    line.say(b"")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.serve(bench.scope("GET", STREAM), line))
        assert (await line.next())["status"] == 200
        line.hang_up()
    assert ended.is_set()
    assert bench.peers.breaker("order").state is BreakerState.CLOSED


async def test_an_open_stream_is_a_success_from_its_first_word() -> None:
    bench, line = GatewayBench(), Line()
    breaker = bench.peers.breaker("order")
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed()
    bench.clock.advance(OPEN_FOR_S)

    async def talk(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()

        return StreamingResponse(pieces(), media_type="text/event-stream")

    bench.services["order"].will(talk)
    line.say(b"")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.serve(bench.scope("GET", STREAM), line))
        assert (await line.next())["status"] == 200
        # The probe of the half-open breaker is this very stream; it must not shut everybody else out.
        assert breaker.state is BreakerState.CLOSED
        assert (await bench.call("GET", "/api/v1/orders")).status == 200
        line.hang_up()


async def test_a_stream_that_does_not_begin_in_time_is_given_up(open_bench: OpenBench) -> None:
    bench, line = open_bench(upstream_timeout_s="0.05"), Line()
    bench.services["order"].will(never, never)
    line.say(b"")
    got = await bench.call("GET", STREAM, line=line)
    assert (got.status, got.problem) == (503, "unavailable")


async def never(_: Request) -> Response:
    await asyncio.Event().wait()
    return Response()


async def test_a_service_that_takes_too_long_is_answered_for(open_bench: OpenBench) -> None:
    bench = open_bench(upstream_timeout_s="0.05")
    bench.services["order"].will(never)
    got = await bench.call("POST", "/api/v1/orders", body=b"{}")
    assert (got.status, got.problem, got.header("retry-after")) == (503, "unavailable", "1")
    assert len(bench.heard("order")) == 1


async def test_a_client_that_reads_or_sends_slowly_is_not_the_services_fault(open_bench: OpenBench) -> None:
    bench = open_bench(upstream_timeout_s="0.1")

    async def say_slowly(line: Line) -> None:
        for _ in range(4):
            line.say(b" ", more=True)
            await asyncio.sleep(0.04)
        line.say(b"{}")

    for _ in range(FAILURES_TO_OPEN):
        line = Line(read_slowly=lambda: asyncio.sleep(0.12))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(say_slowly(line))
            answer = tasks.create_task(bench.call("POST", "/api/v1/orders", line=line))
        assert answer.result().status == 200
    assert bench.peers.breaker("order").state is BreakerState.CLOSED


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_safe_request_that_failed_is_made_once_more_with_its_body(status: int) -> None:
    bench = GatewayBench()
    bench.services["catalog"].will(Response("first", status))
    got = await bench.call("GET", "/api/v1/products", body=b"unusual")
    assert (got.status, got.json["service"]) == (200, "catalog")
    assert [heard.body for heard in bench.heard("catalog")] == [b"unusual", b"unusual"]
    bench.services["catalog"].will(Response("second", status), Response("third", status))
    got = await bench.call("GET", "/api/v1/products")
    assert (got.status, got.body) == (status, b"third")
    assert len(bench.heard("catalog")) == 4


async def test_a_safe_request_that_nobody_answered_is_made_once_more() -> None:
    bench, calls = GatewayBench(), 0
    working = bench.apps["catalog"]

    async def away_once(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await receive()
            raise Unavailable("The catalog service does not answer")
        await working(scope, receive, send)

    bench.apps["catalog"] = away_once
    assert (await bench.call("GET", "/api/v1/products")).status == 200
    assert calls == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_request_that_may_change_something_is_never_made_twice(method: str) -> None:
    bench = GatewayBench()
    bench.services["order"].will(Response("broken", 503, {"Retry-After": "7"}))
    got = await bench.call(method, "/api/v1/orders/o-1")
    assert (got.status, got.body, got.header("retry-after")) == (503, b"broken", "7")
    assert len(bench.heard("order")) == 1


async def test_repetitions_are_limited_by_a_budget() -> None:
    bench = GatewayBench()
    breaker = bench.peers.breaker("catalog")
    while breaker.take_retry_token():
        pass
    bench.services["catalog"].will(Response("broken", 503))
    assert (await bench.call("GET", "/api/v1/products")).status == 503
    assert len(bench.heard("catalog")) == 1


async def test_an_answer_that_breaks_off_is_not_begun_again() -> None:
    bench, line, calls = GatewayBench(), Line(), 0

    async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise Unavailable("The catalog service went away")

    bench.apps["catalog"] = breaks_off
    line.say(b"")
    with pytest.raises(ConnectionAbortedError):
        await bench.serve(bench.scope("GET", "/api/v1/products"), line)
    assert calls == 1
    assert line.collected().body == b"half"


async def test_a_service_that_says_nothing_is_answered_for() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    bench = GatewayBench({"order": silent})
    got = await bench.call("POST", "/api/v1/orders")
    assert (got.status, got.problem) == (503, "unavailable")


async def test_a_service_that_keeps_failing_is_left_alone_then_probed_once_then_trusted_again() -> None:
    bench = GatewayBench()
    order = bench.services["order"]
    order.will(*[Response("broken", 500)] * FAILURES_TO_OPEN)
    for _ in range(FAILURES_TO_OPEN):
        assert (await bench.call("POST", "/api/v1/orders")).status == 500
    shut = await bench.call("POST", "/api/v1/orders")
    assert (shut.status, shut.problem) == (503, "service-unavailable")
    assert 1 <= int(shut.header("retry-after") or 0) <= OPEN_FOR_S
    assert len(order.heard) == FAILURES_TO_OPEN
    assert (await bench.call("POST", "/api/v1/payments")).status == 200

    bench.clock.advance(OPEN_FOR_S)
    probing, decided = asyncio.Event(), asyncio.Event()

    async def probe(_: Request) -> Response:
        probing.set()
        await decided.wait()
        return Response("{}")

    order.will(probe)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(bench.call("POST", "/api/v1/orders"))
        await probing.wait()
        second = await bench.call("POST", "/api/v1/orders")
        assert (second.status, second.problem) == (503, "service-unavailable")
        decided.set()
    assert first.result().status == 200
    assert (await bench.call("POST", "/api/v1/orders")).status == 200


async def test_refusals_of_a_service_say_nothing_against_it() -> None:
    bench = GatewayBench()
    bench.services["order"].will(*[Response("no", 409)] * 20)
    for _ in range(20):
        assert (await bench.call("POST", "/api/v1/orders")).status == 409
    assert bench.peers.breaker("order").state is BreakerState.CLOSED


async def test_many_at_once_each_get_their_own_answer() -> None:
    bench = GatewayBench()
    answers = await asyncio.gather(*(bench.call("GET", f"/api/v1/orders/o-{n}") for n in range(200)))
    assert [got.json["path"] for got in answers] == [f"/orders/o-{n}" for n in range(200)]


async def test_the_failure_that_opens_the_breaker_is_told_as_it_is() -> None:
    bench = GatewayBench()
    for _ in range(FAILURES_TO_OPEN - 1):
        bench.peers.breaker("catalog").failed()
    bench.services["catalog"].will(Response("broken", 500))
    got = await bench.call("GET", "/api/v1/products")
    assert (got.status, got.body) == (500, b"broken")
    assert bench.peers.breaker("catalog").state is BreakerState.OPEN


async def test_a_client_that_is_cut_off_while_it_probes_leaves_the_place_to_the_next(open_bench: OpenBench) -> None:
    bench, asked = GatewayBench(), asyncio.Event()
    for _ in range(FAILURES_TO_OPEN):
        bench.peers.breaker("order").failed()
    bench.clock.advance(OPEN_FOR_S)

    async def wait(request: Request) -> Response:
        asked.set()
        return await never(request)

    bench.services["order"].will(wait)
    async with asyncio.TaskGroup() as tasks:
        probe = tasks.create_task(bench.call("POST", "/api/v1/orders"))
        await asked.wait()
        probe.cancel()
    assert (await bench.call("POST", "/api/v1/orders")).status == 200


async def test_what_the_gateway_matched_is_not_taken_for_what_the_service_matched() -> None:
    seen: list[Scope] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await Response("{}")(scope, receive, send)

    await GatewayBench({"order": look}).call("GET", "/api/v1/orders")
    assert len(seen) == 1
    assert "route" not in seen[0]


async def test_a_request_is_counted_under_its_routes_template() -> None:
    bench = GatewayBench()
    await bench.call("GET", "/api/v1/orders/o-1/saga")
    labels = {"service": "gateway", "method": "GET", "route": "/api/v1/orders/{order_id}/saga", "status": "200"}
    assert bench.metrics.registry.get_sample_value("orderwright_request_seconds_count", labels) == 1


@pytest.mark.parametrize("mark", sorted(UNCOUNTED))
@pytest.mark.parametrize("answers", [True, False])
async def test_failures_of_one_among_well_ones_and_for_want_of_room_do_not_open_the_breaker(
    answers: bool, mark: str
) -> None:
    async def one_is_bad(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][mark] = True
        if not answers:
            raise Unavailable("that one is bad")
        await Response("broken", 500)(scope, receive, send)

    bench = GatewayBench({"order": one_is_bad})
    for _ in range(2 * FAILURES_TO_OPEN):
        assert (await bench.call("POST", "/api/v1/orders")).status >= 500
    assert bench.peers.breaker("order").snapshot()["failures"] == 0
