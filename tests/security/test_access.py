"""A customer cannot see or touch anything of another's: every route of every service, through the gateway and directly.

The routes come from the services' own OpenAPI documents, so a new route is tested the day it is written. `OWNED` says
what to put into a path for something that belongs to the victim; a route that has a parameter it does not know fails.
"""

import json
from functools import partial
from typing import Any

import pytest

from orderwright.gateway.routes import HEARING, exposed
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.deadletters.kept import KeptMessage, keep
from orderwright.kernel.deadletters.states import DEAD
from orderwright.kernel.ids import SystemIds
from orderwright.services import SERVICES
from tests.shop import GOOD_CARD, InProcess, Shop

PUBLIC = {
    ("catalog", "get", "/products"),
    ("catalog", "get", "/products/{product_id}"),
    ("inventory", "get", "/products"),
    ("inventory", "get", "/stock"),
    ("inventory", "get", "/products/{product_id}/stock"),
    ("identity", "post", "/register"),
    ("identity", "post", "/login"),
    ("identity", "post", "/refresh"),
    ("identity", "post", "/logout"),
    ("identity", "post", "/service-token"),
    ("identity", "get", "/.well-known/jwks.json"),
    ("payment", "post", "/webhooks/{provider}"),
}
"""Routes that need no token; a route that is not here and lets somebody in without one fails."""
OPERATIONS = {"/health", "/ready", "/metrics"}
ANYBODYS = {
    ("identity", "get", "/me"),
    ("identity", "put", "/me/password"),
    ("inventory", "post", "/check-availability"),
    ("order", "post", "/orders"),
    ("shipping", "get", "/shipments"),
}
"""Routes that answer every customer with what is the customer's own."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def victims_things(shop: Shop) -> dict[str, str]:
    """A customer with an order at its end, and what can stand in a path for it."""
    if "victim" in shop.ids:
        return shop.ids["things"]  # type: ignore[return-value]
    victim = await shop.register("victim")
    await shop.register("attacker")
    order = await shop.order([("product-123", 1)], role="victim", payment_method=GOOD_CARD)
    done = await shop.until_order_is(order["id"], "completed")
    await shop.call(
        "cart", "POST", f"/carts/{victim}/items", {"product_id": "product-456", "quantity": 1}, role="victim"
    )
    await shop.until_heard("order.completed", order["id"])
    notification: list[Any] = []
    while not notification or notification[0]["recipient"] is None:
        notification = (
            await shop.call("notification", "GET", f"/notifications?order_id={order['id']}", role="staff")
        ).json()
    reservation = (await shop.call("inventory", "GET", f"/reservations?order_id={order['id']}", role="staff")).json()
    shipment: list[Any] = []
    while not shipment:
        shipment = (await shop.call("shipping", "GET", f"/shipments?order_id={order['id']}", role="staff")).json()[
            "items"
        ]
    things = {
        "order_id": order["id"],
        "customer_id": victim,
        "user_id": victim,
        "payment_id": done["payment_id"],
        "reservation_id": reservation[0]["id"],
        "shipment_id": shipment[0]["id"],
        "notification_id": notification[0]["id"],
        "product_id": "product-456",
        "warehouse_id": "main",
        "name": "order_confirmation",
        "provider": "sandbox",
        "webhook_id": done["payment_id"],
        "message_id": await a_dead_letter_everywhere(shop, order["id"], victim),
    }
    shop.ids["things"] = things  # type: ignore[assignment]
    return things


async def a_dead_letter_everywhere(shop: Shop, order_id: str, customer_id: str) -> str:
    """A dead letter about a customer's order, with the same id at every service."""
    assert isinstance(shop.premises, InProcess)
    now = SystemClock().now()
    letter = KeptMessage(
        id=SystemIds().new(),
        state=DEAD,
        topic="order.created",
        key=order_id,
        about=None,
        event_id=None,
        source=None,
        holds=False,
        position=None,
        headers={"ce_subject": order_id},
        body=f"{order_id} of {customer_id}".encode(),
        attempts=1,
        error=f"nobody can read what {customer_id} wants",
        next_attempt_at=now,
        created_at=now,
        updated_at=now,
    )
    for name in HEARING:
        await shop.premises.platform.runtimes[name].database.write(partial(keep, message=letter))
        shown = await shop.call(name, "GET", f"/dead-letters/{letter.id}", role="staff")
        assert customer_id in shown.text
    return letter.id


async def operations(shop: Shop) -> list[tuple[str, str, str]]:
    """(service, method, path) of every route of every service."""
    found: list[tuple[str, str, str]] = []
    for service in SERVICES:
        document = (await shop.call(service, "GET", "/openapi.json", role=None)).json()
        for path, methods in document["paths"].items():
            found += [(service, method, path) for method in methods if path not in OPERATIONS]
    return found


def filled(path: str, things: dict[str, str]) -> str:
    """A path about the victim's things."""
    return path.format_map(things)


async def test_no_route_lets_anybody_in_without_a_token(shop: Shop) -> None:
    things = await victims_things(shop)
    for service, method, path in await operations(shop):
        if (service, method, path) in PUBLIC:
            continue
        answer = await shop.call(service, method.upper(), filled(path, things), {}, role=None)
        assert answer.status_code == 401, (service, method, path, answer.status_code)


async def test_an_attacker_gets_nothing_of_a_victim_by_any_route(shop: Shop) -> None:
    things = await victims_things(shop)
    before = await snapshot(shop, things)
    tried = 0
    for service, method, path in await operations(shop):
        if (service, method, path) in PUBLIC | ANYBODYS:
            continue
        route = exposed(service, path)
        outside = "/api/v1" + (path if route is None else route.outside(path))
        for door, template in ((service, path), ("gateway", outside)):
            where = filled(template, things)
            if path.endswith("/stream"):
                headers = {"Authorization": f"Bearer {await shop.token('attacker')}"}
                answer = await shop.call(door, "GET", where, role=None, headers=headers)
            else:
                answer = await shop.call(door, method.upper(), where, {}, role="attacker")
            tried += 1
            assert answer.status_code in {403, 404, 405, 422}, (door, method, path, answer.status_code, answer.text)
            assert things["customer_id"] not in answer.text.replace(where, "")
    assert tried > 80
    assert await snapshot(shop, things) == before


async def test_queries_and_bodies_that_name_the_victim_give_nothing_away(shop: Shop) -> None:
    things = await victims_things(shop)
    order = things["order_id"]
    before = await snapshot(shop, things)
    empty = [
        ("inventory", f"/reservations?order_id={order}"),
        ("notification", f"/notifications?order_id={order}"),
    ]
    for service, path in empty:
        for door, prefix in ((service, ""), ("gateway", "/api/v1")):
            answer = await shop.call(door, "GET", prefix + path, role="attacker")
            assert (answer.status_code, answer.json()) == (200, []), answer.text
    shipments = await shop.call("shipping", "GET", f"/shipments?order_id={order}", role="attacker")
    assert shipments.json()["items"] == []
    bodies: list[tuple[str, str, str, Any, int]] = [
        (
            "order",
            "POST",
            "/orders",
            {"customer_id": things["customer_id"], "items": [{"product_id": "product-123", "quantity": 1}]},
            403,
        ),
        ("payment", "POST", "/payments", {"order_id": order, "amount": "29.99", "payment_method": GOOD_CARD}, 404),
    ]
    for service, method, path, body, status in bodies:
        for door, prefix in ((service, ""), ("gateway", "/api/v1")):
            answer = await shop.call(door, method, prefix + path, body, role="attacker")
            assert answer.status_code == status, answer.text
    assert await snapshot(shop, things) == before


async def test_customers_cannot_do_what_staff_and_services_do(shop: Shop) -> None:
    things = await victims_things(shop)
    document = json.dumps((await shop.call("gateway", "GET", "/openapi.json", role=None)).json())
    for hidden in ("/contacts", "/payment-methods", "/service-token", "/shipments/cancel"):
        assert f'"/api/v1{hidden}"' not in document
    for service, method, path, body in (
        ("order", "GET", "/orders", None),
        ("order", "POST", f"/orders/{things['order_id']}/saga/push", None),
        ("payment", "POST", f"/payments/{things['payment_id']}/refund", None),
        (
            "payment",
            "POST",
            "/payment-methods",
            {"items": [{"order_id": "x", "customer_id": "y", "payment_method": {}}]},
        ),
        ("inventory", "GET", "/reservations", None),
        ("inventory", "GET", "/warehouses", None),
        ("shipping", "POST", "/shipments/cancel", {"order_id": things["order_id"]}),
        ("notification", "GET", "/notifications", None),
        ("identity", "GET", "/users", None),
        ("identity", "GET", f"/contacts?user_id={things['customer_id']}", None),
        ("order", "GET", f"/contacts?order_id={things['order_id']}", None),
    ):
        answer = await shop.call(service, method, path, body, role="victim")
        assert answer.status_code == 403, (service, method, path, answer.status_code)
    staff = await shop.call("identity", "GET", "/users", role="staff")
    assert staff.status_code == 403
    admin = await shop.call("identity", "GET", "/users", role="admin")
    assert admin.status_code == 200


async def snapshot(shop: Shop, things: dict[str, str]) -> dict[str, Any]:
    """Everything of the victim's, as staff see it."""
    paths = {
        "order": f"/orders/{things['order_id']}",
        "payment": f"/payments/{things['payment_id']}",
        "inventory": f"/reservations/{things['reservation_id']}",
        "shipping": f"/shipments/{things['shipment_id']}",
        "cart": f"/carts/{things['user_id']}",
        "notification": "/templates",
        "catalog": f"/dead-letters/{things['message_id']}",
    }
    return {service: (await shop.call(service, "GET", path, role="staff")).json() for service, path in paths.items()}
