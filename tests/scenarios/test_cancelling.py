"""Cancelling: at every stage, what was taken comes back, once."""

import asyncio

from tests.shop import GOOD_CARD, Shop, until


async def books(shop: Shop, order_id: str) -> tuple[str, str, str]:
    """(order, payment, refunded) as the services show them."""
    order = (await shop.call("order", "GET", f"/orders/{order_id}")).json()
    [payment] = (await shop.call("payment", "GET", f"/payments/order/{order_id}")).json()
    return order["payment_status"], payment["status"], payment["refunded_amount"]


async def test_an_unpaid_order_is_cancelled_twice_with_the_same_answer(shop: Shop) -> None:
    order = await shop.order([("product-123", 3)])
    first = await shop.call("gateway", "PUT", f"/api/v1/orders/{order['id']}/cancel")
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    second = await shop.call("gateway", "DELETE", f"/api/v1/orders/{order['id']}")
    assert (second.status_code, second.json()["cancel_reason"]) == (200, "customer_request")
    await shop.until_heard("stock.released", order["id"])
    level = await shop.stock("product-123")
    assert (level["on_hand"], level["reserved"]) == (500, 0)
    paying = {"order_id": order["id"], "amount": order["total_amount"], "payment_method": GOOD_CARD}

    async def refused() -> bool:
        return (await shop.call("payment", "POST", "/payments", paying)).status_code == 409

    await until(refused, "a cancelled order cannot be paid")


async def test_a_completed_order_is_refunded_and_restocked_until_it_ships(shop: Shop) -> None:
    order = await shop.order([("product-123", 3)], payment_method=GOOD_CARD)
    await shop.until_order_is(order["id"], "completed")
    cancelled = await shop.call("order", "PUT", f"/orders/{order['id']}/cancel", {"reason": "changed my mind"})
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled"), cancelled.text

    async def refunded() -> bool:
        return await books(shop, order["id"]) == ("refunded", "refunded", "89.97")

    await until(refunded, "the money is back")
    await shop.until_heard("stock.released", order["id"])
    level = await shop.stock("product-123")
    assert (level["on_hand"], level["reserved"]) == (500, 0)

    async def undone() -> bool:
        saga = (await shop.call("order", "GET", f"/orders/{order['id']}/saga")).json()
        steps = {step["name"]: step["status"] for step in saga["steps"]}
        both = {steps["process_payment"], steps["deduct_inventory"]} == {"compensated"}
        return bool(saga["status"] == "compensated" and both)

    await until(undone, "every step is undone")
    shipments = (await shop.call("shipping", "GET", f"/shipments?order_id={order['id']}")).json()["items"]
    assert [shipment["status"] for shipment in shipments] == ["cancelled"]


async def test_cancelling_and_shipping_at_once_never_do_both(shop: Shop) -> None:
    for _ in range(5):
        order = await shop.order([("product-456", 1)], payment_method=GOOD_CARD)
        await shop.until_order_is(order["id"], "completed")

        async def prepared(order_id: str = order["id"]) -> bool:
            return bool((await shop.call("shipping", "GET", f"/shipments?order_id={order_id}")).json()["items"])

        await until(prepared, "a shipment is prepared")
        [shipment] = (await shop.call("shipping", "GET", f"/shipments?order_id={order['id']}")).json()["items"]
        ship = shop.call("shipping", "POST", f"/shipments/{shipment['id']}/ship", {"carrier": "DHL"}, role="staff")
        cancel = shop.call("order", "DELETE", f"/orders/{order['id']}")
        shipped, cancelled = await asyncio.gather(ship, cancel)
        assert sorted((shipped.status_code, cancelled.status_code)) == [200, 409]


async def test_money_that_was_taken_without_an_answer_is_found_and_not_taken_again(shop: Shop) -> None:
    order = await shop.order([("product-123", 1)])
    body = {
        "order_id": order["id"],
        "amount": order["total_amount"],
        "payment_method": {**GOOD_CARD, "card_number": "4000000000000010"},
    }
    unknown = await shop.call("payment", "POST", "/payments", body)
    assert (unknown.status_code, unknown.json()["status"]) == (202, "pending")
    again = await shop.call("payment", "POST", "/payments", body)
    assert again.status_code == 409
    await shop.until_order_is(order["id"], "completed")
    [payment] = (await shop.call("payment", "GET", f"/payments/order/{order['id']}")).json()
    assert (payment["status"], payment["captured_amount"]) == ("success", "29.99")


async def test_refunds_never_pass_what_was_captured_also_at_once(shop: Shop) -> None:
    order = await shop.order([("product-123", 1)], payment_method=GOOD_CARD)
    done = await shop.until_order_is(order["id"], "completed")
    path, body = f"/payments/{done['payment_id']}/refund", {"amount": "18.00"}
    answers = await asyncio.gather(*(shop.call("payment", "POST", path, body, role="staff") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 9

    async def partly() -> bool:
        return await books(shop, order["id"]) == ("partially_refunded", "partially_refunded", "18.00")

    await until(partly, "one refund is done")
    rest = await shop.call("payment", "POST", path, role="staff")
    assert rest.status_code == 200

    async def wholly() -> bool:
        return await books(shop, order["id"]) == ("refunded", "refunded", "29.99")

    await until(wholly, "the rest is refunded")
    forbidden = await shop.call("payment", "POST", path)
    assert forbidden.status_code == 403
