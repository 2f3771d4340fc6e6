"""Whatever happens, in whatever order, together or apart: stock adds up, and cancelling everything brings all back."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from orderwright.contracts.carts import CartItemAdded
from orderwright.contracts.catalog import ProductDeleted, ProductUpdated
from orderwright.contracts.inventory import StockReservationFailed, StockReserved
from orderwright.contracts.orders import OrderCompleted
from orderwright.contracts.payments import PaymentFailed
from orderwright.kernel.tables import kept_messages
from orderwright.kernel.testing import ServiceBench
from orderwright.services.inventory.manifest import assemble
from orderwright.services.inventory.tables import reservations, stock
from tests.services.inventory.goods import PRICE, STAFF, assert_adds_up, cancelled, order, paid, product

ORDERS = {
    "o-1": (("a", 1), ("b", 1)),
    "o-2": (("a", 2),),
    "o-3": (("b", 1), ("a", 1), ("b", 1)),
    "o-4": (("a", 5),),
}
EVENTS: list[Any] = [
    *(order(order_id, *lines, user=f"u-{order_id[-1]}") for order_id, lines in ORDERS.items()),
    *(cancelled(order_id) for order_id in ORDERS),
    *(paid(order_id) for order_id in ORDERS),
    *(OrderCompleted(order_id=order_id, payment_id="p") for order_id in ORDERS),
    *(PaymentFailed(payment_id="p", order_id=order_id, reason="x") for order_id in ORDERS),
    *(CartItemAdded(user_id=f"u-{n}", product_id="a", quantity=n) for n in (1, 2)),
    *(ProductUpdated(product_id="b", price=PRICE, quantity=n) for n in (0, 3)),
    ProductDeleted(product_id="b"),
]
BATCHES = st.lists(st.sampled_from(EVENTS), min_size=1, max_size=8)
HAPPENINGS = st.one_of(BATCHES, BATCHES, BATCHES, st.sampled_from(["expire", "close", "open", "free", "again"]))


async def happen(bench: ServiceBench, what: Any, heard: list[Any]) -> None:
    """One thing that can happen to an inventory."""
    match what:
        case "expire":
            bench.clock.advance(21 * 60)
            await bench.run_job("expire-reservations")
        case "close" | "open":
            await bench.request("PUT", "/warehouses/main", {"active": what == "open"}, roles=STAFF)
        case "free":
            for found in (await bench.request("GET", "/reservations", query="limit=2", roles=STAFF)).json:
                await bench.request("DELETE", f"/reservations/{found['id']}", roles=STAFF)
        case "again":
            await bench.hear_again(*reversed(heard))
        case batch:
            bench.clock.advance(1)
            heard += await bench.hear(*batch)


async def expect_all_back(bench: ServiceBench) -> None:
    """Once every order is cancelled and every cart forgotten, nothing is set aside and nothing has been sold."""
    await bench.hear(*(cancelled(order_id) for order_id in ORDERS))
    bench.clock.advance(21 * 60)
    await bench.run_job("expire-reservations")
    for row in await bench.rows(sa.select(stock)):
        assert (row["reserved"], row["sold"]) == (0, row["returned"])
    for row in await bench.rows(sa.select(reservations)):
        assert row["status"] in {"cancelled", "expired"}
        assert row["order_id"] is None or row["status"] == "cancelled"


@settings(max_examples=25, deadline=None)
@given(st.lists(HAPPENINGS, max_size=8), st.integers(0, 6), st.integers(0, 3))
def test_stock_adds_up_after_every_step_and_all_comes_back(story: list[Any], main: int, north: int) -> None:
    async def live() -> None:
        with TemporaryDirectory() as folder:
            async with ServiceBench.open(assemble, "inventory", Path(folder)) as bench:
                await bench.hear(product("a", main), product("b", 2))
                await bench.request("POST", "/warehouses", {"id": "north", "name": "North"}, roles=STAFF)
                level = {"on_hand": north, "warehouse_id": "north"}
                await bench.request("PUT", "/products/a/stock", level, roles=STAFF)
                heard: list[Any] = []
                for what in story:
                    await happen(bench, what, heard)
                    await assert_adds_up(bench)
                kept = await bench.rows(sa.select(kept_messages.c.error))
                assert kept == []
                await expect_all_back(bench)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORDERWRIGHT_INVENTORY_SOFT_RESERVATION_MINUTES", "10")
        asyncio.run(live())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=12), st.integers(0, 15), st.integers(1, 12))
def test_how_orders_are_batched_does_not_change_who_is_served(wanted: list[int], units: int, size: int) -> None:
    async def served(batch: int) -> list[tuple[str, str]]:
        with TemporaryDirectory() as folder:
            async with ServiceBench.open(assemble, "inventory", Path(folder)) as bench:
                await bench.hear(product("a", units))
                orders = [order(f"o-{n}", ("a", quantity)) for n, quantity in enumerate(wanted)]
                for start in range(0, len(orders), batch):
                    await bench.hear(*orders[start : start + batch])
                said = bench.take_said()
                return [
                    (type(e).__name__, e.key) for e in said if isinstance(e, StockReserved | StockReservationFailed)
                ]

    assert asyncio.run(served(size)) == asyncio.run(served(1))
