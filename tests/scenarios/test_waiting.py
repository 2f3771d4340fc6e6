"""Orders that wait: for an answer, for money; and watching one live."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.shop import GOOD_CARD, Shop, open_shop


async def test_respond_async_answers_at_once_and_the_order_goes_on(shop: Shop) -> None:
    body = {"items": [{"product_id": "product-123", "quantity": 1}], "payment_method": GOOD_CARD}
    answer = await shop.call("order", "POST", "/orders", body, headers={"Prefer": "respond-async"})
    assert answer.status_code in {201, 202}
    await shop.until_order_is(answer.json()["id"], "completed")


async def test_an_order_is_kept_while_the_inventory_is_away(shop: Shop) -> None:
    with shop.premises.away("inventory"):
        body = {"items": [{"product_id": "product-123", "quantity": 1}]}
        answer = await shop.call("order", "POST", "/orders", body)
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    await shop.until_order_is(answer.json()["id"], "awaiting_payment")


async def test_an_order_that_nobody_pays_for_is_cancelled_and_its_stock_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_ORDER_PAYMENT_TIMEOUT_S", "0.3")
    monkeypatch.setenv("ORDERWRIGHT_ORDER_DRIVE_EVERY_S", "0.1")
    async with open_shop(tmp_path) as shop:
        order = await shop.order([("product-789", 4)])
        expired = await shop.until_order_is(order["id"], "cancelled")
        assert expired["cancel_reason"] == "payment_timeout"
        await shop.until_heard("stock.released", order["id"])
        assert (await shop.stock("product-789"))["available"] == 50


async def test_a_stream_tells_the_status_and_every_change_and_resumes(shop: Shop) -> None:
    order = await shop.order([("product-123", 1)])
    seen: list[tuple[str, str]] = []

    async def follow(last: str | None) -> None:
        headers = {"Authorization": f"Bearer {await shop.token('customer')}"}
        if last is not None:
            headers["Last-Event-ID"] = last
        url = f"{shop.url('gateway')}/api/v1/orders/{order['id']}/stream"
        async with shop._client.stream("GET", url, headers=headers) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            kind = ""
            async for line in stream.aiter_lines():
                name, _, value = line.partition(": ")
                kind = value if name == "event" else kind
                if name == "data":
                    seen.append((kind, json.loads(value).get("status", "")))
                    if kind == "order_completed":
                        return

    following = asyncio.create_task(follow(None))
    while not seen:
        await asyncio.sleep(0.01)
    assert seen[0] == ("status", "awaiting_payment")
    body = {"order_id": order["id"], "amount": order["total_amount"], "payment_method": GOOD_CARD}
    assert (await shop.call("payment", "POST", "/payments", body)).status_code == 201
    await asyncio.wait_for(following, 10)
    assert {"payment_completed", "stock_deducted", "order_completed"} <= {kind for kind, _ in seen}
    seen.clear()
    await asyncio.wait_for(follow("1"), 10)
    assert [kind for kind, _ in seen][1:] == [kind for kind in dict(seen) if kind != "status"]


async def test_a_repeated_order_with_its_key_is_placed_once(shop: Shop) -> None:
    body = {"items": [{"product_id": "product-123", "quantity": 1}]}
    key = {"Idempotency-Key": "order-of-today"}
    answers = await asyncio.gather(
        *(shop.call("gateway", "POST", "/api/v1/orders", body, headers=key) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    again = await shop.call("gateway", "POST", "/api/v1/orders", body, headers=key)
    first = next(answer for answer in answers if answer.status_code == 201)
    assert (again.status_code, again.headers["idempotency-replayed"], again.content) == (201, "true", first.content)
    other = await shop.call("gateway", "POST", "/api/v1/orders", {**body, "currency": "USD"}, headers=key)
    assert other.status_code == 422
    theirs = await shop.register("somebody-else")
    independent = await shop.call("gateway", "POST", "/api/v1/orders", body, headers=key, role="somebody-else")
    assert (independent.status_code, independent.json()["customer_id"]) == (201, theirs)
    mine = (await shop.call("order", "GET", f"/orders/customer/{shop.ids['customer']}")).json()
    assert len(mine) == 1


async def test_a_price_that_changed_is_refused_with_the_current_one(shop: Shop) -> None:
    body = {"items": [{"product_id": "product-123", "quantity": 1, "unit_price": "19.99"}]}
    answer = await shop.call("order", "POST", "/orders", body)
    assert answer.status_code == 409
    assert (answer.json()["type"].rpartition("/")[2], answer.json()["unit_price"]) == ("price-changed", "29.99")
