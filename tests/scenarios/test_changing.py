"""Changing an order before it is paid: goods, price, stock and address stay one."""

import asyncio

from tests.shop import GOOD_CARD, Shop

ADDRESS = {"name": "Ada", "line1": "12 St James's Square", "city": "London", "postal_code": "SW1Y", "country": "GB"}


async def test_other_goods_are_set_aside_priced_and_paid_for(shop: Shop) -> None:
    order = await shop.order([("product-123", 2)])
    change = {"items": [{"product_id": "product-456", "quantity": 3}], "shipping_address": ADDRESS}
    changed = await shop.call("gateway", "PUT", f"/api/v1/orders/{order['id']}", change)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["total_amount"], changed.json()["shipping_address"]["city"]) == ("59.97", "London")
    old, new = await shop.stock("product-123"), await shop.stock("product-456")
    assert (old["reserved"], new["reserved"]) == (0, 3)
    paying = {"order_id": order["id"], "amount": "59.98", "payment_method": GOOD_CARD}
    assert (await shop.call("payment", "POST", "/payments", paying)).status_code == 422
    assert (await shop.call("payment", "POST", "/payments", {**paying, "amount": "59.97"})).status_code == 201
    done = await shop.until_order_is(order["id"], "completed")
    assert [(item["product_id"], item["quantity"]) for item in done["items"]] == [("product-456", 3)]
    assert (await shop.stock("product-456"))["on_hand"] == 497
    late = await shop.call("gateway", "PUT", f"/api/v1/orders/{order['id']}", change)
    assert late.status_code == 409


async def test_goods_that_are_not_there_leave_all_as_it_was(shop: Shop) -> None:
    order = await shop.order([("product-123", 2)])
    change = {"items": [{"product_id": "product-789", "quantity": 51}]}
    refused = await shop.call("gateway", "PUT", f"/api/v1/orders/{order['id']}", change)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (400, "insufficient-inventory")
    assert (await shop.stock("product-123"))["reserved"] == 2
    paying = {"order_id": order["id"], "amount": "59.98", "payment_method": GOOD_CARD}
    assert (await shop.call("payment", "POST", "/payments", paying)).status_code == 201
    await shop.until_order_is(order["id"], "completed")


async def test_changes_and_a_payment_at_once_never_mix_goods_and_prices(shop: Shop) -> None:
    for _ in range(4):
        order = await shop.order([("product-123", 1)])
        paying = {"order_id": order["id"], "amount": "29.99", "payment_method": GOOD_CARD}
        changes = [
            shop.call(
                "order", "PUT", f"/orders/{order['id']}", {"items": [{"product_id": "product-456", "quantity": n}]}
            )
            for n in (1, 2, 3)
        ]
        answers = await asyncio.gather(*changes, shop.call("payment", "POST", "/payments", paying))
        assert {answer.status_code for answer in answers} <= {200, 201, 409, 422}
        now = (await shop.call("order", "GET", f"/orders/{order['id']}")).json()
        [payment] = (await shop.call("payment", "GET", f"/payments/order/{order['id']}")).json()
        [reservation] = (await shop.call("inventory", "GET", f"/reservations?order_id={order['id']}")).json()
        assert now["total_amount"] == payment["amount"]
        goods = [(item["product_id"], item["quantity"]) for item in now["items"]]
        assert goods == [(item["product_id"], item["quantity"]) for item in reservation["items"]]
