"""Stock never drifts: batches, duplicates, late and lost messages, and two buyers at once."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderwright.contracts.carts import CartItemAdded
from orderwright.contracts.catalog import ProductDeleted, ProductUpdated
from orderwright.contracts.inventory import StockReleased, StockReservationFailed, StockReserved
from orderwright.contracts.payments import PaymentFailed
from orderwright.kernel.testing import ServiceBench
from orderwright.services.inventory.manifest import assemble
from tests.services.inventory.goods import PRICE, assert_adds_up, cancelled, kinds, level, order, paid, product


async def test_of_a_batch_of_100_orders_for_10_units_the_first_10_get_them(bench: ServiceBench) -> None:
    await bench.hear(product("a", 10))
    await bench.hear(*(order(f"o-{n:03d}", ("a", 1)) for n in range(100)))
    said = [event for event in bench.take_said() if isinstance(event, StockReserved | StockReservationFailed)]
    assert [event.order_id for event in said if isinstance(event, StockReserved)] == [f"o-{n:03d}" for n in range(10)]
    failed = next(event for event in said if isinstance(event, StockReservationFailed))
    assert failed.reason == "Insufficient inventory for a: 1 requested, 0 available"
    assert await level(bench, "a") == (10, 10)


async def test_an_order_gets_all_of_its_lines_or_none(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), product("b", 1))
    await bench.hear(order("o", ("a", 2), ("b", 2)))
    assert kinds(bench) == [("StockReservationFailed", "o")]
    assert (await level(bench, "a"), await level(bench, "b")) == ((5, 0), (1, 0))


async def test_two_lines_of_one_product_are_one_wish(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(order("o", ("a", 2), ("a", 2)))
    assert kinds(bench) == [("StockReservationFailed", "o")]
    await bench.hear(order("p", ("a", 2), ("a", 1)))
    assert await level(bench, "a") == (3, 3)


async def test_an_order_that_was_cancelled_before_it_was_heard_of_takes_nothing(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(cancelled("o"))
    await bench.hear(order("o", ("a", 1)))
    assert kinds(bench) == [("StockReleased", "o")]
    assert await level(bench, "a") == (3, 0)


async def test_cancelling_is_answered_every_time_and_acts_once(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(order("o", ("a", 2)))
    await bench.hear(cancelled("o"))
    await bench.hear(cancelled("o"))
    said = [event for event in bench.take_said() if isinstance(event, StockReleased)]
    assert [[(line.product_id, line.quantity) for line in event.items] for event in said] == [[("a", 2)]] * 2
    assert await level(bench, "a") == (3, 0)


async def test_payment_deducts_once_and_cancelling_restocks_once(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(order("o", ("a", 2)))
    await bench.hear(paid("o"), paid("o"))
    await bench.hear(paid("o"))
    assert await level(bench, "a") == (1, 0)
    await bench.hear(cancelled("o"))
    await bench.hear(cancelled("o"))
    await bench.hear(paid("o"))
    assert await level(bench, "a") == (3, 0)
    assert kinds(bench).count(("StockDeducted", "o")) == 1
    await assert_adds_up(bench)


async def test_an_expired_reservation_is_bought_all_the_same_if_the_goods_are_there(bench: ServiceBench) -> None:
    await bench.hear(product("a", 2))
    await bench.hear(order("o", ("a", 2)))
    bench.clock.advance(21 * 60)
    await bench.run_job("expire-reservations")
    assert await level(bench, "a") == (2, 0)
    await bench.hear(paid("o"))
    assert await level(bench, "a") == (0, 0)
    assert kinds(bench)[-1] == ("StockDeducted", "o")


async def test_an_expired_reservation_whose_goods_are_gone_is_said_to_have_failed(bench: ServiceBench) -> None:
    await bench.hear(product("a", 2))
    await bench.hear(order("o", ("a", 2)))
    bench.clock.advance(21 * 60)
    await bench.run_job("expire-reservations")
    await bench.hear(order("other", ("a", 1)))
    await bench.hear(paid("o"))
    assert kinds(bench)[-1] == ("StockReservationFailed", "o")
    await assert_adds_up(bench)


async def test_goods_are_taken_from_one_warehouse_if_one_has_everything(bench: ServiceBench) -> None:
    await bench.hear(product("a", 2), product("b", 2))
    await bench.request("POST", "/warehouses", {"id": "north", "name": "North"}, roles=("staff",))
    for product_id in ("a", "b"):
        body = {"on_hand": 5, "warehouse_id": "north"}
        await bench.request("PUT", f"/products/{product_id}/stock", body, roles=("staff",))
    await bench.hear(order("o", ("a", 3), ("b", 1)))
    answer = await bench.request("GET", "/reservations", query="order_id=o", caller="u")
    assert {item["warehouse_id"] for item in answer.json[0]["items"]} == {"north"}
    await bench.hear(order("p", ("a", 4)))
    answer = await bench.request("GET", "/reservations", query="order_id=p", caller="u")
    assert sorted((item["warehouse_id"], item["quantity"]) for item in answer.json[0]["items"]) == [
        ("main", 2),
        ("north", 2),
    ]


async def test_what_the_catalog_says_late_undoes_nothing_newer(bench: ServiceBench) -> None:
    early = await bench.hear(product("a", 5))
    bench.clock.advance(10)
    await bench.hear(ProductUpdated(product_id="a", price=PRICE, quantity=9))
    assert await level(bench, "a") == (9, 0)
    await bench.hear_again(*early)
    await bench.hear(product("a", 5))
    assert await level(bench, "a") == (9, 0)
    await bench.hear(order("o", ("a", 4)))
    bench.clock.advance(10)
    await bench.hear(ProductUpdated(product_id="a", price=PRICE, quantity=1))
    assert await level(bench, "a") == (4, 4)
    await bench.hear(ProductDeleted(product_id="a"))
    await bench.hear(ProductUpdated(product_id="a", price=PRICE, quantity=50))
    await bench.hear(order("p", ("a", 1)))
    assert kinds(bench)[-1] == ("StockReservationFailed", "p")


async def test_a_hot_product_is_told_once_for_many_orders(bench: ServiceBench) -> None:
    await bench.hear(product("a", 100))
    await bench.run_job("publish-levels")
    await bench.hear(*(order(f"o-{n}", ("a", 1)) for n in range(50)))
    bench.take_said()
    await bench.run_job("publish-levels")
    await bench.run_job("publish-levels")
    assert kinds(bench) == [("StockUpdated", "a")]


async def test_200_requests_at_once_for_10_units_reserve_10(bench: ServiceBench) -> None:
    await bench.hear(product("a", 10))
    body = {"items": [{"product_id": "a", "quantity": 1}]}
    answers = await asyncio.gather(
        *(bench.request("POST", "/reservations", body, roles=("staff",)) for _ in range(200))
    )
    assert sorted(answer.status for answer in answers) == [201] * 10 + [400] * 190
    await assert_adds_up(bench)


async def test_a_reservation_can_be_changed_cancelled_twice_and_not_after_deduction(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), order("o", ("a", 2)))
    [reservation] = (await bench.request("GET", "/reservations", query="order_id=o", roles=("staff",))).json
    path = f"/reservations/{reservation['id']}"
    too_much = {"items": [{"product_id": "a", "quantity": 6}]}
    assert (await bench.request("PUT", path, too_much, roles=("staff",))).status == 400
    assert await level(bench, "a") == (5, 2)
    more = {"items": [{"product_id": "a", "quantity": 4}]}
    assert (await bench.request("PUT", path, more, roles=("staff",))).status == 200
    assert await level(bench, "a") == (5, 4)
    assert [(await bench.request("DELETE", path, roles=("staff",))).status for _ in range(2)] == [200, 200]
    await bench.hear(order("q", ("a", 1)))
    await bench.hear(paid("q"))
    [deducted] = (await bench.request("GET", "/reservations", query="order_id=q", roles=("staff",))).json
    assert (await bench.request("DELETE", f"/reservations/{deducted['id']}", roles=("staff",))).status == 409


async def test_a_cart_sets_goods_aside_softly_when_that_is_switched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_INVENTORY_SOFT_RESERVATION_MINUTES", "10")
    async with ServiceBench.open(assemble, "inventory", tmp_path) as bench:
        await bench.hear(product("a", 3))
        await bench.hear(CartItemAdded(user_id="u", product_id="a", quantity=2))
        assert await level(bench, "a") == (3, 2)
        await bench.hear(order("theirs", ("a", 2), user="v"))
        assert kinds(bench)[-1] == ("StockReservationFailed", "theirs")
        await bench.hear(order("mine", ("a", 2)))
        assert await level(bench, "a") == (3, 2)
        await bench.hear(CartItemAdded(user_id="w", product_id="a", quantity=5))
        bench.clock.advance(601)
        await bench.run_job("expire-reservations")
        await assert_adds_up(bench)
        assert await level(bench, "a") == (3, 2)


EVENTS: list[Any] = [
    *(order(f"o{n}", ("a", n), ("b", 1)) for n in (1, 2, 3)),
    *(cancelled(f"o{n}") for n in (1, 2, 3)),
    *(paid(f"o{n}") for n in (1, 2, 3)),
    *(PaymentFailed(payment_id="p", order_id=f"o{n}", reason="x") for n in (1, 2)),
    "expire",
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=14), st.integers(0, 4))
def test_whatever_is_heard_in_whatever_order_the_stock_adds_up(story: list[Any], units: int) -> None:
    async def live() -> None:
        with TemporaryDirectory() as folder:
            async with ServiceBench.open(assemble, "inventory", Path(folder)) as bench:
                await bench.hear(product("a", units), product("b", 2))
                for event in story:
                    if event == "expire":
                        bench.clock.advance(21 * 60)
                        await bench.run_job("expire-reservations")
                    else:
                        await bench.hear(event)
                await assert_adds_up(bench)

    asyncio.run(live())
