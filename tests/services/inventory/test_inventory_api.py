"""The inventory's HTTP door: who may, what is answered, and that a refusal changes nothing."""

import asyncio
from typing import Any

import pytest

from orderwright.kernel.testing import BenchAnswer, ServiceBench
from tests.services.inventory.goods import (
    STAFF,
    assert_adds_up,
    cancelled,
    kinds,
    level,
    order,
    paid,
    problem_of,
    product,
    reservation_of,
)

UNKNOWN = "0198c0de-0000-7000-8000-000000000000"


def items(*lines: tuple[str, Any]) -> dict[str, Any]:
    return {"items": [{"product_id": product_id, "quantity": quantity} for product_id, quantity in lines]}


async def reserve(bench: ServiceBench, body: dict[str, Any], key: str | None = None) -> BenchAnswer:
    headers = {"idempotency-key": key} if key else {}
    return await bench.request("POST", "/reservations", body, roles=STAFF, headers=headers)


async def test_levels_are_public_and_the_list_has_pages(bench: ServiceBench) -> None:
    await bench.hear(*(product(f"p-{n}", n) for n in range(5)))
    seen: list[str] = []
    query = "limit=2"
    for _ in range(3):
        page = (await bench.request("GET", "/stock", query=query, roles=())).json
        seen += [entry["product_id"] for entry in page["items"]]
        query = f"limit=2&cursor={page['next_cursor']}"
    assert seen == [f"p-{n}" for n in range(5)]
    assert page["next_cursor"] is None
    assert (await bench.request("GET", "/products", roles=())).json["items"][3] == {
        "product_id": "p-3",
        "on_hand": 3,
        "reserved": 0,
        "available": 3,
        "warehouses": [{"warehouse_id": "main", "on_hand": 3, "reserved": 0, "available": 3}],
    }


@pytest.mark.parametrize("cursor", ["p-1", "%21%21", "cC0x", "YWZ0ZXIfAA==", "%00", "é"])
async def test_a_forged_cursor_is_refused(bench: ServiceBench, cursor: str) -> None:
    answer = await bench.request("GET", "/stock", query=f"cursor={cursor}", roles=())
    assert problem_of(answer) == (400, "invalid-cursor")


@pytest.mark.parametrize("product_id", ["nothing", "%00", "%F0%9F%92%A5", "x" * 500])
async def test_an_unknown_product_is_404(bench: ServiceBench, product_id: str) -> None:
    assert (await bench.request("GET", f"/products/{product_id}/stock", roles=())).status == 404
    answer = await bench.request("PUT", f"/products/{product_id}/stock", {"on_hand": 1}, roles=STAFF)
    assert answer.status == 404


async def test_staff_state_and_adjust_levels_but_not_below_what_is_set_aside(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), order("o", ("a", 3)))
    path = "/products/a/stock"
    assert (await bench.request("PUT", path, {"on_hand": 9}, roles=STAFF)).json["available"] == 6
    assert (await bench.request("PUT", path, {"adjust": -6}, roles=STAFF)).json["on_hand"] == 3
    for body in ({"adjust": -1}, {"on_hand": 2}, {"adjust": -1_000_000_000}):
        answer = await bench.request("PUT", path, body, roles=STAFF)
        assert problem_of(answer) == (409, "stock-below-reserved")
    assert await level(bench, "a") == (3, 3)
    await assert_adds_up(bench)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"on_hand": 1, "adjust": 1},
        {"on_hand": -1},
        {"on_hand": 1.5},
        {"on_hand": "1"},
        {"on_hand": True},
        {"on_hand": 2**63},
        {"on_hand": 1, "reserved": 0},
        {"on_hand": 1, "warehouse_id": "a/b"},
    ],
)
async def test_a_level_that_breaks_a_rule_is_refused(bench: ServiceBench, body: dict[str, Any]) -> None:
    await bench.hear(product("a", 5))
    assert (await bench.request("PUT", "/products/a/stock", body, roles=STAFF)).status == 422
    assert await level(bench, "a") == (5, 0)


async def test_only_staff_state_levels_and_only_in_a_warehouse_that_there_is(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    for roles, status in (((), 401), (("customer",), 403), (("service",), 403)):
        assert (await bench.request("PUT", "/products/a/stock", {"on_hand": 1}, roles=roles)).status == status
    body = {"on_hand": 1, "warehouse_id": "nowhere"}
    assert (await bench.request("PUT", "/products/a/stock", body, roles=STAFF)).status == 404
    assert await level(bench, "a") == (5, 0)


async def test_availability_adds_up_lines_of_one_product(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    answer = await bench.request("POST", "/check-availability", items(("a", 2), ("b", 1), ("a", 2)))
    assert answer.json == {
        "available": False,
        "items": [
            {"product_id": "a", "requested": 4, "available": 3, "sufficient": False},
            {"product_id": "b", "requested": 1, "available": 0, "sufficient": False},
        ],
    }
    assert (await bench.request("POST", "/check-availability", items(("a", 3)))).json["available"] is True
    assert (await bench.request("POST", "/check-availability", items(("a", 3)), roles=())).status == 401
    assert await level(bench, "a") == (3, 0)


async def test_goods_are_set_aside_on_request(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    answer = await reserve(bench, {**items(("a", 1), ("a", 1)), "order_id": "o", "expires_in_s": 60})
    assert answer.status == 201
    made = answer.json
    assert made["items"] == [{"product_id": "a", "quantity": 2, "warehouse_id": "main"}]
    assert (made["order_id"], made["status"]) == ("o", "reserved")
    assert (await bench.request("GET", f"/reservations/{made['id']}", roles=STAFF)).json == made
    bench.clock.advance(61)
    await bench.run_job("expire-reservations")
    assert kinds(bench)[-1] == ("StockReleased", "o")
    assert await level(bench, "a") == (5, 0)


async def test_too_little_stock_is_refused_in_the_words_of_the_contract(bench: ServiceBench) -> None:
    await bench.hear(product("product-789", 50))
    answer = await reserve(bench, items(("product-789", 1000)))
    assert problem_of(answer) == (400, "insufficient-inventory")
    assert answer.json["detail"] == "Insufficient inventory for product-789: 1000 requested, 50 available"
    assert await level(bench, "product-789") == (50, 0)


async def test_an_order_has_one_reservation(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    await bench.hear(cancelled("gone"))
    body = {**items(("a", 1)), "order_id": "o"}
    answers = await asyncio.gather(*(reserve(bench, body) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
    again = await reserve(bench, {**items(("a", 1)), "order_id": "gone"})
    assert problem_of(again) == (409, "reservation-exists")
    assert await level(bench, "a") == (5, 1)


async def test_the_same_key_reserves_once(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    body = {**items(("a", 1)), "order_id": "o"}
    first = await reserve(bench, body, "key")
    second = await reserve(bench, body, "key")
    assert (first.status, second.status, second.json) == (201, 201, first.json)
    assert second.headers["idempotency-replayed"] == "true"
    assert (await reserve(bench, {**items(("a", 2)), "order_id": "o"}, "key")).status == 422
    assert await level(bench, "a") == (5, 1)


async def test_a_refusal_leaves_its_key_free(bench: ServiceBench) -> None:
    await bench.hear(product("a", 0))
    assert (await reserve(bench, items(("a", 1)), "key")).status == 400
    await bench.request("PUT", "/products/a/stock", {"on_hand": 1}, roles=STAFF)
    assert (await reserve(bench, items(("a", 1)), "key")).status == 201


@pytest.mark.parametrize(
    "body",
    [
        {"items": []},
        items(("a", 0)),
        items(("a", -1)),
        items(("a", 1.5)),
        items(("a", 100_001)),
        items(("", 1)),
        {**items(("a", 1)), "status": "deducted"},
        {**items(("a", 1)), "expires_in_s": 0},
        {**items(("a", 1)), "order_id": "a\u0000b"},
    ],
)
async def test_a_reservation_that_breaks_a_rule_is_refused(bench: ServiceBench, body: dict[str, Any]) -> None:
    await bench.hear(product("a", 5))
    assert (await reserve(bench, body)).status == 422
    assert await level(bench, "a") == (5, 0)


async def test_customers_see_their_own_reservations_and_decide_none(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), order("o", ("a", 1), user="u"))
    path = f"/reservations/{(await reservation_of(bench, 'o'))['id']}"
    assert (await bench.request("GET", path, caller="u")).status == 200
    assert (await bench.request("GET", path, caller="v")).status == 404
    assert len((await bench.request("GET", "/reservations", query="order_id=o", caller="u")).json) == 1
    assert (await bench.request("GET", "/reservations", query="order_id=o", caller="v")).json == []
    assert (await bench.request("GET", "/reservations", caller="u")).status == 403
    for method, where, body in (
        ("POST", "/reservations", items(("a", 1))),
        ("PUT", path, items(("a", 5))),
        ("DELETE", path, None),
        ("POST", "/warehouses", {"id": "x", "name": "X"}),
        ("PUT", "/warehouses/main", {"active": False}),
    ):
        assert (await bench.request(method, where, body, caller="u")).status == 403
        assert (await bench.request(method, where, body, roles=())).status == 401
    assert await level(bench, "a") == (5, 1)


async def test_services_set_aside_and_see_all(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), order("o", ("a", 1)), order("p", ("a", 1)))
    assert (await bench.request("POST", "/reservations", items(("a", 1)), roles=("service",))).status == 201
    assert len((await bench.request("GET", "/reservations", roles=("service",))).json) == 3
    assert len((await bench.request("GET", "/reservations", query="limit=2", roles=STAFF)).json) == 2
    assert (await bench.request("GET", "/reservations", query="order_id=x", roles=STAFF)).json == []
    assert (await bench.request("GET", "/reservations", query="order_id=%00", roles=STAFF)).status == 422


@pytest.mark.parametrize("reservation_id", [UNKNOWN, "nothing", "%00", "1"])
async def test_an_unknown_reservation_is_404(bench: ServiceBench, reservation_id: str) -> None:
    path = f"/reservations/{reservation_id}"
    for method, body in (("GET", None), ("PUT", items(("a", 1))), ("DELETE", None)):
        assert (await bench.request(method, path, body, roles=STAFF)).status == 404


async def test_a_reservation_is_changed_as_a_whole_or_not_at_all(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), product("b", 1), order("o", ("a", 4)))
    path = f"/reservations/{(await reservation_of(bench, 'o'))['id']}"
    refused = await bench.request("PUT", path, items(("a", 1), ("b", 2)), roles=STAFF)
    assert problem_of(refused) == (400, "insufficient-inventory")
    assert (await level(bench, "a"), await level(bench, "b")) == ((5, 4), (1, 0))
    changed = await bench.request("PUT", path, items(("b", 1), ("a", 5)), roles=STAFF)
    assert [(line["product_id"], line["quantity"]) for line in changed.json["items"]] == [("a", 5), ("b", 1)]
    assert (await level(bench, "a"), await level(bench, "b")) == ((5, 5), (1, 1))
    await assert_adds_up(bench)


async def test_a_reservation_can_be_given_more_time(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), order("o", ("a", 4)))
    path = f"/reservations/{(await reservation_of(bench, 'o'))['id']}"
    bench.clock.advance(15 * 60)
    assert (await bench.request("PUT", path, {"expires_in_s": 1200}, roles=STAFF)).status == 200
    bench.clock.advance(15 * 60)
    assert not await bench.run_job("expire-reservations")
    assert (await bench.request("PUT", path, {}, roles=STAFF)).status == 422
    bench.clock.advance(15 * 60)
    assert await bench.run_job("expire-reservations")
    late = await bench.request("PUT", path, {"expires_in_s": 1200}, roles=STAFF)
    assert problem_of(late) == (409, "reservation-not-active")


async def test_deleting_an_expired_reservation_cancels_it_for_good(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), order("o", ("a", 2)))
    path = f"/reservations/{(await reservation_of(bench, 'o'))['id']}"
    bench.clock.advance(21 * 60)
    await bench.run_job("expire-reservations")
    first = await bench.request("DELETE", path, roles=STAFF)
    assert (first.status, first.json["status"]) == (200, "cancelled")
    assert (await bench.request("DELETE", path, roles=STAFF)).json == first.json
    await bench.hear(paid("o"))
    assert await level(bench, "a") == (5, 0)
    assert kinds(bench).count(("StockReleased", "o")) == 1


async def test_what_has_left_cannot_be_changed_or_deleted(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), order("o", ("a", 2)))
    await bench.hear(paid("o"))
    path = f"/reservations/{(await reservation_of(bench, 'o'))['id']}"
    for method, body in (("PUT", items(("a", 1))), ("DELETE", None)):
        answer = await bench.request(method, path, body, roles=STAFF)
        assert problem_of(answer) == (409, "reservation-not-active")
    assert await level(bench, "a") == (3, 0)


async def test_warehouses_are_opened_once_and_used_in_their_order(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    body = {"id": "north", "name": "North", "priority": 5}
    first = await bench.request("POST", "/warehouses", body, roles=STAFF, headers={"idempotency-key": "k"})
    again = await bench.request("POST", "/warehouses", body, roles=STAFF, headers={"idempotency-key": "k"})
    assert (first.status, again.status, again.json) == (201, 201, first.json)
    assert problem_of(await bench.request("POST", "/warehouses", body, roles=STAFF)) == (409, "warehouse-exists")
    await bench.request("PUT", "/products/a/stock", {"on_hand": 5, "warehouse_id": "north"}, roles=STAFF)
    await bench.request("PUT", "/warehouses/main", {"priority": 9}, roles=STAFF)
    listed = (await bench.request("GET", "/warehouses", roles=STAFF)).json
    assert [warehouse["id"] for warehouse in listed] == ["north", "main"]
    await bench.hear(order("o", ("a", 1)))
    [line] = (await bench.request("GET", "/reservations", query="order_id=o", caller="u")).json[0]["items"]
    assert line["warehouse_id"] == "north"


async def test_a_change_of_a_warehouse_that_says_nothing_or_of_none_is_refused(bench: ServiceBench) -> None:
    assert (await bench.request("PUT", "/warehouses/main", {}, roles=STAFF)).status == 422
    assert (await bench.request("PUT", "/warehouses/main", {"id": "x"}, roles=STAFF)).status == 422
    assert (await bench.request("PUT", "/warehouses/nowhere", {"active": False}, roles=STAFF)).status == 404


async def test_reserving_changing_and_deleting_at_once_leaves_no_drift(bench: ServiceBench) -> None:
    await bench.hear(product("a", 10), *(order(f"o-{n}", ("a", 1)) for n in range(5)))
    paths = [f"/reservations/{(await reservation_of(bench, f'o-{n}'))['id']}" for n in range(5)]
    answers = await asyncio.gather(
        *(bench.request("PUT", path, items(("a", 3)), roles=STAFF) for path in paths),
        *(reserve(bench, items(("a", 1))) for _ in range(10)),
        *(bench.request("DELETE", path, roles=STAFF) for path in paths * 2),
        bench.hear(*(paid(f"o-{n}") for n in range(5))),
        bench.hear(*(cancelled(f"o-{n}") for n in range(5))),
    )
    assert {answer.status for answer in answers if isinstance(answer, BenchAnswer)} <= {200, 201, 400, 409}
    await assert_adds_up(bench)
