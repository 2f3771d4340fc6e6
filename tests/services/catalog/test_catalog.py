"""The catalog: what can be bought, for how much, and who may say so."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import UNSET

from orderwright.contracts.catalog import ProductCreated, ProductDeleted, ProductUpdated
from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel.testing import ServiceBench
from orderwright.services.catalog.manifest import assemble

STAFF = ("staff",)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ServiceBench]:
    async with ServiceBench.open(assemble, "catalog", tmp_path) as opened:
        yield opened


async def test_a_product_comes_changes_and_goes_and_each_is_said(bench: ServiceBench) -> None:
    body = {"id": "a", "name": "Mug", "price": 12.5, "quantity": 3}
    made = await bench.request("POST", "/products", body, roles=STAFF)
    assert (made.status, made.json["price"]) == (201, "12.50")
    await bench.request("PUT", "/products/a", {"price": "13.00"}, roles=STAFF)
    await bench.request("PUT", "/products/a", {"price": "13.00", "quantity": 9}, roles=STAFF)
    assert [(await bench.request("DELETE", "/products/a", roles=STAFF)).status for _ in range(2)] == [204, 404]
    assert bench.take_said() == [
        ProductCreated(product_id="a", name="Mug", price=Decimal("12.50"), quantity=3),
        ProductUpdated(product_id="a", price=Decimal("13.00"), quantity=UNSET),
        ProductUpdated(product_id="a", price=Decimal("13.00"), quantity=9),
        ProductDeleted(product_id="a"),
    ]
    assert (await bench.request("POST", "/products", body, roles=STAFF)).status == 409
    assert (await bench.request("GET", "/products/a", roles=())).status == 404


async def test_two_changes_of_one_version_are_one_change(bench: ServiceBench) -> None:
    await bench.request("POST", "/products", {"id": "a", "name": "Mug", "price": 1}, roles=STAFF)
    etag = (await bench.request("GET", "/products/a", roles=())).headers["etag"]
    answers = await asyncio.gather(
        *(
            bench.request("PUT", "/products/a", {"price": price}, roles=STAFF, headers={"if-match": etag})
            for price in (2, 3, 4)
        )
    )
    assert sorted(answer.status for answer in answers) == [200, 412, 412]


async def test_products_are_found_and_paged_by_name(bench: ServiceBench) -> None:
    for name in ("Mug", "Pan", "Big mug", "Pot"):
        await bench.request(
            "POST", "/products", {"id": name.lower().replace(" ", "-"), "name": name, "price": 1}, roles=STAFF
        )
    names: list[str] = []
    query = "limit=3"
    while query:
        page = (await bench.request("GET", "/products", query=query, roles=())).json
        names += [product["name"] for product in page["items"]]
        query = f"limit=3&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert names == ["Big mug", "Mug", "Pan", "Pot"]
    found = (await bench.request("GET", "/products", query="q=MUG", roles=())).json["items"]
    assert [product["name"] for product in found] == ["Big mug", "Mug"]


async def test_the_newest_word_on_the_level_counts(bench: ServiceBench) -> None:
    await bench.request("POST", "/products", {"id": "a", "name": "Mug", "price": 1, "quantity": 5}, roles=STAFF)
    bench.clock.advance(10)
    await bench.hear(StockUpdated(product_id="a", quantity=2))
    bench.clock.advance(-5)
    await bench.hear(StockUpdated(product_id="a", quantity=4))
    assert (await bench.request("GET", "/products/a", roles=())).json["quantity"] == 2
    assert (await bench.request("POST", "/products", {"name": "x", "price": 1})).status == 403
