"""A shipment is prepared once, moves once, and is never both shipped and cancelled."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orderwright.contracts.orders import OrderCancelled, OrderCompleted, OrderCreated, OrderLine
from orderwright.contracts.shipping import OrderDelivered, OrderShipped
from orderwright.kernel.testing import ServiceBench
from orderwright.services.shipping.manifest import assemble

STAFF = ("staff",)
COMPLETED = OrderCompleted(order_id="o", payment_id="p")
CANCELLED = OrderCancelled(order_id="o", reason="x")


def created(*, goods: bool = True) -> OrderCreated:
    items = [OrderLine(product_id="a", quantity=1, price=Decimal(1))] if goods else []
    return OrderCreated(order_id="o", user_id="customer-1", items=items, total_amount=Decimal(1))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ServiceBench]:
    async with ServiceBench.open(assemble, "shipping", tmp_path) as opened:
        yield opened


async def shipments(bench: ServiceBench, **who: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await bench.request("GET", "/shipments", query="order_id=o", **who)).json["items"]
    return found


@pytest.mark.parametrize("first", [0, 1])
async def test_a_shipment_is_prepared_once_whatever_comes_first(bench: ServiceBench, first: int) -> None:
    events = [created(), COMPLETED]
    for event in (events[first], events[1 - first], COMPLETED):
        await bench.hear(event)
    [shipment] = await shipments(bench)
    assert shipment["status"] == "pending"
    assert await shipments(bench, caller="somebody-else") == []


async def test_it_ships_and_arrives_once(bench: ServiceBench) -> None:
    await bench.hear(created(), COMPLETED)
    [shipment] = await shipments(bench)
    path, body = f"/shipments/{shipment['id']}", {"carrier": "DHL", "tracking_number": "J1"}
    assert (await bench.request("POST", f"{path}/deliver", roles=STAFF)).status == 409
    assert [(await bench.request("POST", f"{path}/ship", body, roles=STAFF)).status for _ in range(2)] == [200, 200]
    other = await bench.request("POST", f"{path}/ship", {"carrier": "UPS"}, roles=STAFF)
    assert other.status == 409
    assert [(await bench.request("POST", f"{path}/deliver", roles=STAFF)).status for _ in range(2)] == [200, 200]
    assert bench.take_said() == [
        OrderShipped(order_id="o", tracking_number="J1", carrier="DHL"),
        OrderDelivered(order_id="o"),
    ]


async def test_an_order_of_an_amount_and_one_cancelled_before_have_nothing_to_ship(bench: ServiceBench) -> None:
    await bench.hear(created(goods=False), COMPLETED)
    assert await shipments(bench) == []
    await bench.hear(CANCELLED)
    await bench.hear(COMPLETED)
    assert [shipment["status"] for shipment in await shipments(bench, roles=STAFF)] == ["cancelled"]


@pytest.mark.parametrize("goods", [True, False])
async def test_nothing_can_leave_before_it_is_known_whether_there_are_goods(bench: ServiceBench, goods: bool) -> None:
    """An order of an amount is cancelled without asking here, so it must not have left (simulation, seed 2117)."""
    await bench.hear(COMPLETED)
    assert await shipments(bench, roles=STAFF) == []
    await bench.hear(created(goods=goods))
    assert len(await shipments(bench, roles=STAFF)) == goods


async def test_shipping_and_letting_go_at_once_never_both_happen(bench: ServiceBench) -> None:
    await bench.hear(created(), COMPLETED)
    [shipment] = await shipments(bench)
    shipped, cancelled = await asyncio.gather(
        bench.request("POST", f"/shipments/{shipment['id']}/ship", {"carrier": "DHL"}, roles=STAFF),
        bench.request("POST", "/shipments/cancel", {"order_id": "o"}, roles=("service",)),
    )
    assert sorted((shipped.status, cancelled.status)) == [200, 409]
    again = await bench.request("POST", "/shipments/cancel", {"order_id": "o"}, roles=("service",))
    assert again.status == cancelled.status
