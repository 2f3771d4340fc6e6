"""Which path leads where, and that no other spelling of it leads anywhere."""

from urllib.parse import unquote

import pytest

from orderwright.cli.reference import assembled
from orderwright.gateway.routes import HIDDEN, ROUTES, Route, exposed, find, shape
from orderwright.kernel.web import create_app
from tests.gateway.bench import GatewayBench

OWNERS = [
    ("GET", "/orders", "order"),
    ("POST", "/orders", "order"),
    ("GET", "/orders/customer/c-1", "order"),
    ("PUT", "/orders/o-1/cancel", "order"),
    ("POST", "/payments", "payment"),
    ("POST", "/payments/p-1/refund", "payment"),
    ("POST", "/webhooks/sandbox", "payment"),
    ("GET", "/products/p-1/stock", "inventory"),
    ("GET", "/stock", "inventory"),
    ("POST", "/check-availability", "inventory"),
    ("DELETE", "/reservations/r-1", "inventory"),
    ("GET", "/warehouses", "inventory"),
    ("GET", "/products", "catalog"),
    ("GET", "/products/stock", "catalog"),
    ("DELETE", "/products/p-1", "catalog"),
    ("PUT", "/carts/u-1/items/p-1", "cart"),
    ("POST", "/carts/u-1/checkout", "cart"),
    ("POST", "/shipments/s-1/ship", "shipping"),
    ("POST", "/notifications/email", "notification"),
    ("PUT", "/templates/welcome", "notification"),
    ("POST", "/register", "identity"),
    ("POST", "/login", "identity"),
    ("POST", "/refresh", "identity"),
    ("POST", "/logout", "identity"),
    ("GET", "/me", "identity"),
    ("GET", "/users", "identity"),
]


@pytest.mark.parametrize(("method", "path", "service"), OWNERS)
async def test_a_path_leads_to_its_owner_below_the_owners_own_root(method: str, path: str, service: str) -> None:
    bench = GatewayBench()
    got = await bench.call(method, f"/api/v1{path}")
    assert (got.status, got.json) == (200, {"service": service, "path": path})
    assert [(heard.method, heard.path) for heard in bench.heard(service)] == [(method, path)]


SHARED = [
    ("GET", "/dead-letters/order", "order", "/dead-letters"),
    ("POST", "/dead-letters/order/replay", "order", "/dead-letters/replay"),
    ("GET", "/dead-letters/cart/m-1", "cart", "/dead-letters/m-1"),
    ("GET", "/dead-letters/cart/cart", "cart", "/dead-letters/cart"),
    ("POST", "/dead-letters/payment/m-1/discard", "payment", "/dead-letters/m-1/discard"),
    ("GET", "/dead-letters/order/m%20%C3%BC", "order", "/dead-letters/m \u00fc"),
]


@pytest.mark.parametrize(("method", "path", "service", "inside"), SHARED)
async def test_a_path_that_several_services_have_names_the_service(
    method: str, path: str, service: str, inside: str
) -> None:
    bench = GatewayBench()
    got = await bench.call(method, f"/api/v1{path}", query="limit=1")
    assert got.status == 200
    [heard] = bench.heard(service)
    assert (heard.method, heard.path, unquote(heard.raw_path.decode())) == (method, inside, inside)
    assert heard.query == b"limit=1"


async def test_the_public_keys_are_public() -> None:
    bench = GatewayBench()
    got = await bench.call("GET", "/api/v1/.well-known/jwks.json", caller=None)
    assert (got.status, got.json) == (200, bench.keys.document)


NOWHERE = [
    "/api/v1",
    "/api/v1/",
    "/api/v1//orders",
    "//api/v1/orders",
    "/api/v1/dead-letters",
    "/api/v1/dead-letters/identity",
    "/api/v1/dead-letters/gateway/m-1",
    "/api/v1/orders/",
    "/api/v1/orders//",
    "/api/v1/ORDERS",
    "/API/v1/orders",
    "/api/v1/orders/../payments",
    "/api/v1/orders/./x",
    "/api/v1/../health",
    "/api/v1/orders/%2e%2e/payments",
    "/api/v1/orders/%2E%2e",
    "/api/v1/orders/..%2fpayments",
    "/api/v1/orders%2Fx",
    "/api/v1/orders%5cx",
    "/api/v1/orders/a%00b",
    "/api/v1/orders/a%0d%0aX-Evil:%201",
    "/api/v1/orders/x/unknown",
    "/api/v1/orders/x/y/z",
    "/api/v1/nothing",
    "/api/v2/orders",
    "/orders",
    "/api/v1/contacts",
    "/api/v1/payment-methods",
    "/api/v1/payments/order/o-1/hold",
    "/api/v1/payments/order/o-1/terms",
    "/api/v1/service-token",
    "/api/v1/shipments/cancel",
    "/api/v1/%73hipments/cancel",
    "/api/v1/shipments/%63ancel",
    "/api/v1/health",
    "/api/v1/ready",
    "/api/v1/metrics",
    "/api/v1/docs",
    "/health/",
    "/docs/",
    "/redoc",
    "/docs/oauth2-redirect",
]


@pytest.mark.parametrize("path", NOWHERE)
async def test_any_other_spelling_leads_nowhere(path: str) -> None:
    bench = GatewayBench()
    for method in ("GET", "POST"):
        got = await bench.call(method, path)
        assert (got.status, got.problem) == (404, "not-found")
    assert all(not service.heard for service in bench.services.values())


@pytest.mark.parametrize("path", ["/orders/%252e%252e", "/orders/a%252fb", "/orders/..%3B", "/orders/a%20b"])
async def test_what_is_only_an_odd_id_stays_one(path: str) -> None:
    bench = GatewayBench()
    await bench.call("GET", f"/api/v1{path}")
    [heard] = bench.heard("order")
    assert heard.raw_path.decode() == path


PUBLIC = [
    ("POST", "/register"),
    ("POST", "/login"),
    ("POST", "/refresh"),
    ("POST", "/logout"),
    ("GET", "/products"),
    ("HEAD", "/products"),
    ("GET", "/products/p-1"),
    ("GET", "/products/p-1/stock"),
    ("GET", "/stock"),
    ("POST", "/webhooks/sandbox"),
]


@pytest.mark.parametrize(("method", "path"), PUBLIC)
async def test_a_public_route_needs_no_token_and_leaves_a_bad_one_to_the_service(method: str, path: str) -> None:
    bench = GatewayBench()
    for headers in ([], [("authorization", "Bearer nonsense")]):
        got = await bench.call(method, f"/api/v1{path}", caller=None, headers=headers)
        assert got.status == 200
    service = find(path)
    assert service is not None
    assert [heard.header("authorization") for heard in bench.heard(service.service)] == [[], ["Bearer nonsense"]]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
async def test_every_method_that_is_not_public_needs_a_token(route: Route) -> None:
    bench = GatewayBench()
    path = shape(route.path).replace("{}", "x")
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - route.public:
        got = await bench.call(method, path, caller=None)
        assert (got.status, got.problem) == (401, "unauthorized")
        assert got.header("www-authenticate") == 'Bearer error="invalid_token"'
    assert not bench.heard(route.service)


def test_no_two_routes_are_the_same_outside() -> None:
    shapes = [shape(route.path) for route in ROUTES]
    assert len(shapes) == len(set(shapes))


def test_every_route_of_every_service_is_either_in_the_table_or_kept_inside_on_purpose() -> None:
    with assembled() as services:
        there = {
            (name, path)
            for name, service in services.items()
            for path in create_app(name, "", routers=service.routers, version="1").openapi()["paths"]
        }
    assert there
    forgotten = {(name, path) for name, path in there if exposed(name, path) is None} - HIDDEN
    assert forgotten == set(), "say in gateway/routes.py whether these are for the outside"
    assert there >= HIDDEN, "these are hidden and do not exist"
    shapes = {(name, shape(path)) for name, path in there}
    assert {(route.service, shape(route.template)) for route in ROUTES} <= shapes, "these lead to nothing"
