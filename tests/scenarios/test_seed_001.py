"""The three tests of seed 001, line by line, on the services' own ports, with a token and an `expiry` to come."""

from tests.shop import Shop, until


async def test_successful_order_flow(shop: Shop) -> None:
    product_id = "product-123"
    inventory = await shop.call("inventory", "GET", f"/products/{product_id}/stock")
    assert inventory.status_code == 200
    assert inventory.json()["available"] >= 2

    order_data = {
        "customer_id": "customer-456",
        "items": [{"product_id": product_id, "quantity": 2, "unit_price": 29.99}],
    }
    placed = await shop.call("order", "POST", "/orders", order_data, role="staff")
    assert placed.status_code == 201
    order = placed.json()
    order_id = order["id"]
    assert order["status"] == "awaiting_payment"
    assert order["total_amount"] == "59.98"

    reservation = await shop.call("inventory", "GET", f"/reservations?order_id={order_id}", role="staff")
    assert reservation.status_code == 200
    assert len(reservation.json()) > 0

    payment_data = {
        "order_id": order_id,
        "amount": order["total_amount"],
        "payment_method": {
            "type": "credit_card",
            "card_number": "4111111111111111",
            "expiry": "12/35",
            "cvv": "123",
        },
    }
    paid = await shop.call("payment", "POST", "/payments", payment_data, role="staff")
    assert paid.status_code == 201
    payment = paid.json()
    assert payment["status"] == "success"

    final_order = await shop.until_order_is(order_id, "completed")
    assert final_order["status"] == "completed"

    async def confirmed() -> bool:
        notifications = await shop.call("notification", "GET", f"/notifications?order_id={order_id}", role="staff")
        assert notifications.status_code == 200
        return any(n["type"] == "order_confirmation" for n in notifications.json())

    await until(confirmed, "the customer was sent a confirmation")


async def test_payment_failure_rollback(shop: Shop) -> None:
    order_data = {
        "customer_id": "customer-789",
        "items": [{"product_id": "product-456", "quantity": 1, "unit_price": 19.99}],
    }
    placed = await shop.call("order", "POST", "/orders", order_data, role="staff")
    order_id = placed.json()["id"]
    payment_data = {
        "order_id": order_id,
        "amount": 19.99,
        "payment_method": {
            "type": "credit_card",
            "card_number": "4000000000000002",
            "expiry": "12/35",
            "cvv": "123",
        },
    }
    declined = await shop.call("payment", "POST", "/payments", payment_data, role="staff")
    assert declined.status_code == 400
    assert declined.json()["status"] == "failed"

    cancelled = await shop.until_order_is(order_id, "cancelled")
    assert cancelled["status"] == "cancelled"

    async def released() -> bool:
        answer = await shop.call("inventory", "GET", f"/reservations?order_id={order_id}", role="staff")
        return all(r["status"] == "cancelled" for r in answer.json())

    await until(released, "the reservation was released")


async def test_insufficient_inventory(shop: Shop) -> None:
    order_data = {
        "customer_id": "customer-999",
        "items": [{"product_id": "product-789", "quantity": 1000, "unit_price": 9.99}],
    }
    refused = await shop.call("order", "POST", "/orders", order_data, role="staff")
    assert refused.status_code == 400
    assert "insufficient inventory" in refused.json()["detail"].lower()
    assert refused.json()["detail"] == "Insufficient inventory for product-789: 1000 requested, 50 available"
