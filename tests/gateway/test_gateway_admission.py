"""Who is let in, whom the gateway believes, and what every answer carries."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from fastapi import Response
from starlette.datastructures import Headers

from orderwright.gateway.admission import client_address
from orderwright.kernel.addresses import network_of
from orderwright.kernel.errors import Unavailable
from tests.gateway.bench import GatewayBench, Line
from tests.gateway.conftest import OpenBench

PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")]


def hops(*lines: str, peer: str | None = "10.0.0.1") -> str:
    """The address that is found for a request of `peer` with these lines of X-Forwarded-For."""
    fields = [(b"x-forwarded-for", line.encode()) for line in lines]
    scope: dict[str, Any] = {"type": "http", "client": (peer, 1) if peer else None, "headers": fields}
    return str(client_address(scope, Headers(scope=scope), PROXIES))


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([], "10.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1", "10.0.0.3"], "192.0.2.1"),
        (["10.0.0.9"], "10.0.0.9"),
        (["192.0.2.1, unknown"], "10.0.0.1"),
        (["192.0.2.1, "], "10.0.0.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["[2001:db8::5]:4711"], "2001:db8::5"),
        (["2001:db8::5, 2001:db8:ffff::1"], "2001:db8::5"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["fe80::1%eth0"], "fe80::1"),
        (["<script>"], "10.0.0.1"),
    ],
)
def test_the_true_address_is_read_from_the_right_over_known_proxies(lines: list[str], address: str) -> None:
    assert hops(*lines) == address


@pytest.mark.parametrize(
    ("peer", "address"), [("192.0.2.9", "192.0.2.9"), (None, "127.0.0.1"), ("socket", "127.0.0.1")]
)
def test_somebody_who_is_no_known_proxy_is_believed_nothing(peer: str | None, address: str) -> None:
    assert hops("6.6.6.6", peer=peer) == address


def test_an_ipv6_subscriber_counts_as_one_and_an_ipv4_address_as_itself() -> None:
    one, same, other = (network_of(ip_address(text)) for text in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"))
    assert one == same == "2001:db8::/64" != other
    assert network_of(ip_address("192.0.2.1")) == "192.0.2.1"
    assert network_of(ip_address("::1")) == "::/64"


async def test_a_known_proxy_is_a_setting(open_bench: OpenBench) -> None:
    bench = open_bench(trusted_proxies='["10.0.0.0/8", "192.0.2.200"]')
    for client in ("10.1.1.1", "192.0.2.200"):
        await bench.call("GET", "/api/v1/orders", headers=[("X-Forwarded-For", "198.51.100.7")], client=client)
    assert [heard.header("x-forwarded-for") for heard in bench.heard("order")] == [["198.51.100.7"]] * 2


async def test_only_a_valid_token_gets_in() -> None:
    bench = GatewayBench()
    good = bench.token()
    old = bench.keys.token("customer-1", ["customer"], valid_s=-60)
    head, payload, _ = good.split(".")
    for value in ("", "Bearer", "Bearer ", f"Basic {good}", f"Bearer {old}", f"Bearer {head}.{payload}.", "Bearer x"):
        got = await bench.call("GET", "/api/v1/orders", caller=None, headers=[("Authorization", value)])
        assert (got.status, got.problem) == (401, "unauthorized"), value
    assert not bench.heard("order")
    got = await bench.call("GET", "/api/v1/orders", caller=None, headers=[("Authorization", f"bearer {good}")])
    assert got.status == 200


async def test_without_the_public_keys_nobody_is_judged() -> None:
    async def away(scope: object, receive: object, send: object) -> None:
        raise Unavailable("The identity service does not answer")

    bench = GatewayBench({"identity": away})
    got = await bench.call("GET", "/api/v1/orders")
    assert got.status == 503
    assert got.header("retry-after")
    assert (await bench.call("GET", "/api/v1/products", caller=None)).status == 200


async def test_keys_that_cannot_be_had_are_no_reason_to_call_a_token_bad() -> None:
    async def lost(scope: Any, receive: Any, send: Any) -> None:
        await Response("nothing here", 404)(scope, receive, send)

    bench = GatewayBench({"identity": lost})
    assert (await bench.call("GET", "/api/v1/orders")).status == 503


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html", 406),
        ("text/html, image/png;q=0.5", 406),
        ("application/xml", 406),
        ("application/json;q=0, text/html", 406),
        ("text/html, */*;q=0.1", 200),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/*", 200),
        ("text/event-stream", 200),
        ("application/problem+json", 200),
        ("", 200),
    ],
)
async def test_who_takes_none_of_our_formats_is_told(accept: str, status: int) -> None:
    bench = GatewayBench()
    got = await bench.call("GET", "/api/v1/orders", headers=[("Accept", accept)])
    assert got.status == status
    assert len(bench.heard("order")) == (status == 200)
    if status == 406:
        assert got.problem == "not-acceptable"


async def test_a_browser_gets_the_docs_and_404s() -> None:
    bench = GatewayBench()
    html = [("Accept", "text/html")]
    assert (await bench.call("GET", "/docs", caller=None, headers=html)).status == 200
    assert (await bench.call("GET", "/api/v1/nothing", caller=None, headers=html)).status == 404


@pytest.mark.parametrize(
    "headers", [[(f"X-{n}", "1") for n in range(100)], [("X-Long", "x" * 16 * 1024)]], ids=["too many", "too long"]
)
@pytest.mark.parametrize("path", ["/api/v1/orders", "/health", "/docs"])
async def test_headers_beyond_measure_are_refused(path: str, headers: list[tuple[str, str]]) -> None:
    bench = GatewayBench()
    got = await bench.call("GET", path, headers=headers)
    assert (got.status, got.problem) == (431, "header-fields-too-large")
    fewer = [(name, value[:15_000]) for name, value in headers[:99]]
    assert (await bench.call("GET", path, caller=None, headers=fewer)).status in {200, 401, 503}


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused_before_any_service_hears_of_it(declared: bool) -> None:
    bench, line = GatewayBench(), Line()
    for _ in range(17):
        line.say(b"x" * 65_536, more=True)
    line.say(b"")
    headers = [("Content-Length", str(17 * 65_536))] if declared else [("Transfer-Encoding", "chunked")]
    got = await bench.call("POST", "/api/v1/orders", headers=headers, line=line)
    assert (got.status, got.problem) == (413, "content-too-large")
    assert not bench.heard("order")


@pytest.mark.parametrize(
    ("method", "path", "caller", "cache"),
    [
        ("GET", "/api/v1/orders", "customer-1", "no-store"),
        ("GET", "/api/v1/orders", None, None),
        ("POST", "/api/v1/login", None, "no-store"),
        ("GET", "/api/v1/products", None, None),
        ("GET", "/api/v1/products", "customer-1", "no-store"),
        ("GET", "/api/v1/nothing", "customer-1", "no-store"),
        ("GET", "/health", None, None),
        ("GET", "/docs", None, None),
    ],
)
async def test_every_answer_is_dressed(method: str, path: str, caller: str | None, cache: str | None) -> None:
    got = await GatewayBench().call(method, path, caller=caller)
    assert (got.header("x-content-type-options"), got.header("referrer-policy")) == ("nosniff", "no-referrer")
    assert got.header("cache-control") == cache
    assert got.header("x-request-id")


async def test_a_service_may_say_itself_how_long_its_answer_keeps() -> None:
    bench = GatewayBench()
    bench.services["catalog"].will(Response("{}", headers={"Cache-Control": "max-age=60"}))
    assert (await bench.call("GET", "/api/v1/products")).header("cache-control") == "max-age=60"


async def test_a_refusal_of_the_outermost_layer_is_dressed_too() -> None:
    line = Line()
    line.say(b"x" * (1024 * 1024 + 1))
    got = await GatewayBench().call("POST", "/api/v1/login", caller=None, line=line)
    assert (got.status, got.header("x-content-type-options"), got.header("cache-control")) == (
        413,
        "nosniff",
        "no-store",
    )


ORIGIN = ("Origin", "https://shop.example")
PREFLIGHT = [ORIGIN, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "Idempotency-Key")]


async def test_no_other_page_may_call_unless_it_was_set() -> None:
    bench = GatewayBench()
    assert (await bench.call("GET", "/api/v1/orders", headers=[ORIGIN])).all("access-control-allow-origin") == []
    assert (await bench.call("OPTIONS", "/api/v1/orders", caller=None, headers=PREFLIGHT)).status == 401


async def test_pages_of_an_origin_that_was_set_may_call(open_bench: OpenBench) -> None:
    bench = open_bench(cors_origins='["https://shop.example"]')
    allowed = await bench.call("OPTIONS", "/api/v1/orders", caller=None, headers=PREFLIGHT)
    assert (allowed.status, allowed.header("access-control-allow-origin")) == (200, "https://shop.example")
    assert "Idempotency-Key" in (allowed.header("access-control-allow-headers") or "")
    assert not bench.heard("order")
    for path in ("/api/v1/orders", "/api/v1/nothing"):
        got = await bench.call("GET", path, headers=[ORIGIN])
        assert got.header("access-control-allow-origin") == "https://shop.example"
        assert "Retry-After" in (got.header("access-control-expose-headers") or "")
    stranger = await bench.call("GET", "/api/v1/orders", headers=[("Origin", "https://evil.example")])
    assert stranger.all("access-control-allow-origin") == []


async def test_a_websocket_is_refused() -> None:
    bench, line = GatewayBench(), Line()
    scope = {**bench.scope("GET", "/api/v1/orders"), "type": "websocket", "subprotocols": []}
    line.incoming.put_nowait({"type": "websocket.connect"})
    await bench.serve(scope, line)
    assert (await line.next())["type"] == "websocket.close"
