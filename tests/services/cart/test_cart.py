"""Carts follow the catalog, belong to somebody, and are checked out once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from orderwright.contracts.carts import CartCheckedOut, CartItemAdded
from orderwright.contracts.catalog import ProductCreated, ProductDeleted, ProductUpdated
from orderwright.kernel.messages import Event, encode
from orderwright.kernel.testing import ServiceBench
from orderwright.services.cart.manifest import assemble

ITEMS = "/carts/customer-1/items"


def created(product_id: str, price: str = "10.00") -> ProductCreated:
    return ProductCreated(product_id=product_id, name=product_id, price=Decimal(price), quantity=1)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ServiceBench]:
    async with ServiceBench.open(assemble, "cart", tmp_path, peers={"catalog": FastAPI()}) as opened:
        await opened.hear(created("a"), created("b", "2.50"))
        yield opened


async def test_items_add_up_at_the_catalogs_prices(bench: ServiceBench) -> None:
    for quantity in (1, 2):
        added = await bench.request("POST", ITEMS, {"product_id": "a", "quantity": quantity})
        assert added.status == 201
    changed = await bench.request("PUT", f"{ITEMS}/a", {"quantity": 5})
    await bench.request("POST", ITEMS, {"product_id": "b", "quantity": 1})
    removed = await bench.request("DELETE", f"{ITEMS}/a")
    assert (changed.json["total_amount"], removed.json["total_amount"]) == ("50.00", "2.50")
    said = [event.quantity for event in bench.take_said() if isinstance(event, CartItemAdded)]
    assert said == [1, 2, 2, 1]


async def test_a_cart_is_somebodys_own(bench: ServiceBench) -> None:
    await bench.request("POST", ITEMS, {"product_id": "a", "quantity": 1})
    for method, path in (
        ("GET", "/carts/customer-1"),
        ("POST", "/carts/customer-1/checkout"),
        ("DELETE", f"{ITEMS}/a"),
    ):
        assert (await bench.request(method, path, caller="customer-2")).status == 404
    assert (await bench.request("GET", "/carts/customer-1", roles=("staff",), caller="s")).status == 200


async def test_a_cart_that_is_checked_out_at_once_twice_is_one_order(bench: ServiceBench) -> None:
    await bench.request("POST", ITEMS, {"product_id": "a", "quantity": 1})
    answers = await asyncio.gather(*(bench.request("POST", "/carts/customer-1/checkout") for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [202, 409, 409, 409, 409]
    [out] = [event for event in bench.take_said() if isinstance(event, CartCheckedOut)]
    first = next(answer for answer in answers if answer.status == 202)
    assert first.json["order_id"] == first.json["cart_id"] == out.cart_id
    again = await bench.request("POST", ITEMS, {"product_id": "b", "quantity": 1})
    assert (again.json["cart_id"] != out.cart_id, len(again.json["items"])) == (True, 1)


async def test_a_repeated_checkout_with_its_key_answers_the_same(bench: ServiceBench) -> None:
    await bench.request("POST", ITEMS, {"product_id": "a", "quantity": 1})
    key = {"idempotency-key": "k"}
    answers = [await bench.request("POST", "/carts/customer-1/checkout", headers=key) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].json == answers[1].json


async def test_unknown_and_deleted_products_are_refused_and_leave_open_carts(bench: ServiceBench) -> None:
    assert (await bench.request("POST", ITEMS, {"product_id": "z", "quantity": 1})).status == 400
    await bench.request("POST", ITEMS, {"product_id": "a", "quantity": 1})
    await bench.hear(ProductDeleted(product_id="a"))
    assert (await bench.request("GET", "/carts/customer-1")).json["items"] == []
    assert (await bench.request("POST", ITEMS, {"product_id": "a", "quantity": 1})).status == 400


NEWS: list[tuple[int, Event]] = [
    (1, created("a")),
    (2, ProductUpdated(product_id="a", price=Decimal("11.00"))),
    (3, ProductUpdated(product_id="a", price=Decimal("12.00"))),
    (4, created("b")),
    (5, ProductDeleted(product_id="b")),
]


@settings(max_examples=15, deadline=None)
@given(st.permutations(NEWS))
def test_however_the_news_come_the_prices_are_the_newest(news: list[tuple[int, Event]]) -> None:
    async def live() -> list[int]:
        with TemporaryDirectory() as folder:
            async with ServiceBench.open(assemble, "cart", Path(folder), peers={"catalog": FastAPI()}) as bench:
                for at_s, event in news:
                    time = bench.clock.now() + timedelta(seconds=at_s)
                    await bench.hear_again(encode(event, id=f"m-{at_s}", source="/catalog", time=time))
                added = await bench.request("POST", ITEMS, {"product_id": "a", "quantity": 1})
                gone = await bench.request("POST", ITEMS, {"product_id": "b", "quantity": 1})
                return [int(Decimal(added.json["total_amount"])), gone.status]

    assert asyncio.run(live()) == [12, 400]
