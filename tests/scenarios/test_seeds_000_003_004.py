"""Seeds 000 (paid, shipped, failed), 003 (an order of an amount) and 004 (success and failure, with notifications)."""

from tests.shop import DECLINED_CARD, GOOD_CARD, Shop, until


async def types_told(shop: Shop, order_id: str) -> set[str]:
    """What the customer was told of an order."""
    answer = await shop.call("notification", "GET", f"/notifications?order_id={order_id}")
    return {one["type"] for one in answer.json()}


async def test_seed_000_an_order_is_paid_shipped_and_delivered(shop: Shop) -> None:
    order = await shop.order([("product-123", 1)], payment_method=GOOD_CARD)
    paid = await shop.until_order_is(order["id"], "completed")
    assert paid["payment_status"] == "paid"

    async def prepared() -> bool:
        return bool((await shop.call("shipping", "GET", f"/shipments?order_id={order['id']}")).json()["items"])

    await until(prepared, "a shipment is prepared")
    shipment = (await shop.call("shipping", "GET", f"/shipments?order_id={order['id']}")).json()["items"][0]
    body = {"carrier": "DHL", "tracking_number": "JD014600"}
    shipped = await shop.call("shipping", "POST", f"/shipments/{shipment['id']}/ship", body, role="staff")
    assert shipped.status_code == 200
    await shop.until_said(
        "order.shipped",
        order["id"],
        {
            "orderId": order["id"],
            "trackingNumber": "JD014600",
            "carrier": "DHL",
        },
    )

    async def known() -> bool:
        now = (await shop.call("order", "GET", f"/orders/{order['id']}")).json()
        return (now["fulfillment_status"], now["carrier"], now["tracking_number"]) == ("shipped", "DHL", "JD014600")

    await until(known, "the order knows that it has shipped")
    refused = await shop.call("order", "DELETE", f"/orders/{order['id']}")
    assert refused.status_code == 409
    delivered = await shop.call("shipping", "POST", f"/shipments/{shipment['id']}/deliver", role="staff")
    assert delivered.status_code == 200
    await shop.until_said("order.delivered", order["id"], {"orderId": order["id"]})

    async def told() -> bool:
        return {"order_confirmation", "order_shipped", "order_delivered"} <= await types_told(shop, order["id"])

    await until(told, "the customer was told all of it")


async def test_seed_000_a_failed_payment_marks_the_order(shop: Shop) -> None:
    order = await shop.order([("product-123", 1)], payment_method=DECLINED_CARD)
    failed = await shop.until_order_is(order["id"], "cancelled")
    assert (failed["payment_status"], failed["cancel_reason"]) == ("failed", "payment_failed")


async def test_seed_003_an_order_of_an_amount_needs_payment_only(shop: Shop) -> None:
    placed = await shop.call("order", "POST", "/orders", {"id": 1, "amount": 100.0}, role="staff")
    assert placed.status_code == 201, placed.text
    order = placed.json()
    assert (order["client_reference"], order["total_amount"], order["status"]) == ("1", "100.00", "awaiting_payment")
    created = await shop.until_heard("order.created", order["id"])
    assert (created["items"], created["totalAmount"]) == ([], 100.0)
    body = {"order_id": order["id"], "amount": 100.0, "payment_method": GOOD_CARD}
    paid = await shop.call("payment", "POST", "/payments", body, role="staff")
    assert paid.status_code == 201, paid.text
    await shop.until_heard("payment.completed", order["id"])
    await shop.until_order_is(order["id"], "completed")
    assert not [d for d in shop.heard if d.topic.startswith("stock.") and d.key == order["id"]]
    again = await shop.call("order", "POST", "/orders", {"id": 1, "amount": 100.0}, role="staff")
    assert again.status_code == 409
    forbidden = await shop.call("order", "POST", "/orders", {"id": 2, "amount": 0.01})
    assert forbidden.status_code == 403


async def test_seed_003_a_failed_payment_is_said_on_its_topic(shop: Shop) -> None:
    body = {"id": "ext-7", "amount": "12.50", "payment_method": DECLINED_CARD}
    placed = await shop.call("order", "POST", "/orders", body, role="staff")
    order_id = placed.json()["id"]
    assert (await shop.until_heard("payment.failed", order_id))["reason"] == "card_declined"
    await shop.until_order_is(order_id, "cancelled")


async def test_seed_004_success_is_told_to_the_customer(shop: Shop) -> None:
    order = await shop.order([("product-456", 3)], payment_method=GOOD_CARD)
    await shop.until_order_is(order["id"], "completed")

    async def told() -> bool:
        return "order_confirmation" in await types_told(shop, order["id"])

    await until(told, "the order is confirmed to the customer")
    path = ["order.created", "stock.reserved", "payment.completed", "stock.deducted", "order.completed"]
    for topic in path:
        await shop.until_heard(topic, order["id"])
    # Each topic is in order, and Kafka hands one over before or after another: the times say what came of what.
    said = {d.headers["ce_time"]: d.topic for d in shop.heard if d.key == order["id"] and d.topic in path}
    assert [said[time] for time in sorted(said)] == path


async def test_seed_004_missing_stock_fails_the_order_without_a_payment(shop: Shop) -> None:
    lines = {"items": [{"product_id": "product-789", "quantity": 51}], "payment_method": GOOD_CARD}
    refused = await shop.call("order", "POST", "/orders", lines)
    assert refused.status_code == 400
    order_id = refused.json()["order_id"]
    failed = await shop.until_heard("stock.reservation_failed", order_id)
    assert failed["items"] == [{"productId": "product-789", "quantity": 51}]

    async def told() -> bool:
        return await types_told(shop, order_id) == {"order_cancelled"}

    await until(told, "the customer was told")
    assert not [d for d in shop.heard if d.topic == "payment.completed" and d.key == order_id]
    [payment] = (await shop.call("payment", "GET", f"/payments/order/{order_id}")).json()
    assert (payment["status"], payment["captured_amount"]) == ("cancelled", "0.00")
