"""The gateway's own pages."""

import asyncio

from fastapi import Request, Response

from orderwright import __version__
from orderwright.gateway.pages import REMEMBERED_S
from orderwright.gateway.routes import SERVICES
from orderwright.kernel.resilience import FAILURES_TO_OPEN, BreakerState
from tests.gateway.bench import GatewayBench


async def test_it_is_alive_whatever_the_services_do() -> None:
    bench = GatewayBench(dict.fromkeys(SERVICES, Response("broken", 500)))
    got = await bench.call("GET", "/health", caller=None)
    assert (got.status, got.json) == (200, {"status": "healthy", "service": "gateway"})


async def test_it_is_ready_when_all_services_are() -> None:
    got = await GatewayBench().call("GET", "/ready", caller=None)
    assert (got.status, got.json["ready"], got.json["checks"]) == (200, True, dict.fromkeys(SERVICES, "ok"))


async def test_a_service_that_is_not_ready_is_named_and_what_fails_there_but_not_why() -> None:
    bench = GatewayBench()
    checks = b'{"ready": false, "checks": {"database": "ok", "relay": "secret at 10.0.0.7", "broker": "gone"}}'
    bench.services["order"].will(Response(checks, 503))
    bench.services["cart"].will(Response("no JSON", 503))
    got = await bench.call("GET", "/ready", caller=None)
    assert (got.status, got.header("retry-after")) == (503, "1")
    assert got.json["checks"]["order"] == "not ready: broker, relay"
    assert got.json["checks"]["cart"] == "not ready"
    assert got.json["checks"]["catalog"] == "ok"


async def test_services_are_asked_at_once_and_not_again_for_a_moment() -> None:
    bench, all_asked = GatewayBench(), asyncio.Event()
    waiting = 0

    async def together(_: Request) -> Response:
        nonlocal waiting
        waiting += 1
        if waiting == len(SERVICES):
            all_asked.set()
        await all_asked.wait()
        return Response("{}")

    for service in bench.services.values():
        service.will(together)
    answers = await asyncio.gather(*(bench.call("GET", "/ready", caller=None) for _ in range(5)))
    assert [got.status for got in answers] == [200] * 5
    assert all(len(service.heard) == 1 for service in bench.services.values())
    bench.clock.advance(REMEMBERED_S)
    await bench.call("GET", "/ready", caller=None)
    assert all(len(service.heard) == 2 for service in bench.services.values())


async def test_asking_whether_services_are_ready_never_shuts_them_out() -> None:
    bench = GatewayBench()
    bench.services["order"].will(*[Response("{}", 503)] * 2 * FAILURES_TO_OPEN)
    for _ in range(2 * FAILURES_TO_OPEN):
        assert (await bench.call("GET", "/ready", caller=None)).status == 503
        bench.clock.advance(REMEMBERED_S)
    assert bench.peers.breaker("order").state is BreakerState.CLOSED


async def test_an_open_breaker_is_told() -> None:
    bench = GatewayBench()
    for _ in range(FAILURES_TO_OPEN):
        bench.peers.breaker("payment").failed()
    got = await bench.call("GET", "/ready", caller=None)
    assert (got.status, got.json["checks"]["payment"]) == (503, "its breaker is open")


async def test_the_first_page_leads_on() -> None:
    got = await GatewayBench().call("GET", "/", caller=None)
    assert got.json == {
        "name": "orderwright",
        "version": __version__,
        "api": "/api/v1",
        "docs": "/docs",
        "openapi": "/openapi.json",
    }


async def test_the_docs_show_the_document_of_the_whole() -> None:
    got = await GatewayBench().call("GET", "/docs", caller=None)
    assert (got.status, got.header("content-type")) == (200, "text/html; charset=utf-8")
    start = await GatewayBench().call("GET", "/docs/start.js", caller=None)
    assert (b'src="docs/start.js"' in got.body, b'url: "openapi.json"' in start.body) == (True, True)


async def test_counters_are_there_for_prometheus() -> None:
    bench = GatewayBench()
    await bench.call("GET", "/api/v1/products", caller=None)
    got = await bench.call("GET", "/metrics", caller=None)
    assert b'route="/api/v1/products"' in got.body


async def test_another_method_on_a_page_is_405_with_what_is_allowed() -> None:
    got = await GatewayBench().call("POST", "/health", caller=None)
    assert (got.status, got.problem, got.header("allow")) == (405, "method-not-allowed", "GET")
