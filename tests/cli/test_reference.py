"""What the command line tells of the code."""

import pytest

from orderwright.cli.reference import assembled, print_routes, routes_of
from orderwright.gateway.routes import ROUTES, shape


def test_every_route_that_the_gateway_leads_to_is_listed_by_its_service() -> None:
    with assembled() as services:
        listed = {(name, shape(path)) for name, service in services.items() for _, path, _ in routes_of(service)}
    assert {(route.service, shape(route.template)) for route in ROUTES} <= listed


def test_routes_are_printed_with_their_methods_and_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    print_routes()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["identity", "POST", "/login", "Log", "in"] in lines
    assert ["identity", "POST", "/logout", "Log", "out"] in lines
    for service in ("identity", "catalog", "cart", "order", "payment", "inventory", "shipping", "notification"):
        assert any(line[0] == service for line in lines), service
