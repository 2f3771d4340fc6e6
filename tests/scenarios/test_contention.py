"""Contention: 200 buyers at once for the last 10 units."""

import asyncio

from tests.shop import GOOD_CARD, Shop


async def test_of_200_buyers_exactly_10_get_the_last_10_units(shop: Shop) -> None:
    level = await shop.call("inventory", "PUT", "/products/product-789/stock", {"on_hand": 10}, role="staff")
    assert level.status_code == 200
    await shop.token("customer")
    body = {"items": [{"product_id": "product-789", "quantity": 1}], "payment_method": GOOD_CARD}
    answers = await asyncio.gather(*(shop.call("gateway", "POST", "/api/v1/orders", body) for _ in range(200)))
    accepted = [answer.json() for answer in answers if answer.status_code in {201, 202}]
    refused = [answer for answer in answers if answer.status_code == 400]
    assert (len(accepted), len(refused)) == (10, 190)
    assert all("Insufficient inventory" in answer.json()["detail"] for answer in refused)
    for order in accepted:
        await shop.until_order_is(order["id"], "completed")
    after = await shop.stock("product-789")
    assert (after["on_hand"], after["reserved"], after["available"]) == (0, 0, 0)
