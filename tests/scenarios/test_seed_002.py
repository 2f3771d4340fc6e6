"""Seed 002: from a cart to OrderCompleted, each event with the payload that the seed shows."""

from tests.shop import GOOD_CARD, Shop, until


async def test_a_cart_becomes_a_completed_order_and_every_payload_is_as_written(shop: Shop) -> None:
    for product_id, price in (("123", 100.0), ("124", 200.0)):
        body = {"id": product_id, "name": "Product Name", "price": price, "quantity": 50}
        created = await shop.call("catalog", "POST", "/products", body, role="staff")
        assert created.status_code == 201, created.text
    await shop.until_said(
        "product.created", "123", {"productId": "123", "name": "Product Name", "price": 100.0, "quantity": 50}
    )

    await shop.token("customer")
    user = shop.ids["customer"]
    for product_id, quantity in (("123", 2), ("124", 1)):
        added = await shop.call(
            "cart", "POST", f"/carts/{user}/items", {"product_id": product_id, "quantity": quantity}
        )
        assert added.status_code == 201, added.text
    assert added.json()["total_amount"] == "400.00"
    await shop.until_said("cart.item_added", user, {"userId": user, "productId": "124", "quantity": 1})

    out = await shop.call("cart", "POST", f"/carts/{user}/checkout", {"payment_method": GOOD_CARD})
    assert out.status_code == 202, out.text
    order_id = out.json()["order_id"]
    lines = [{"productId": "123", "quantity": 2}, {"productId": "124", "quantity": 1}]
    await shop.until_said(
        "cart.checked_out",
        order_id,
        {
            "userId": user,
            "cartId": order_id,
            "items": lines,
        },
    )
    order = await shop.until_order_is(order_id, "completed")
    payment_id = order["payment_id"]
    await shop.until_said(
        "order.created",
        order_id,
        {
            "orderId": order_id,
            "userId": user,
            "items": [
                {"productId": "123", "quantity": 2, "price": 100.0},
                {"productId": "124", "quantity": 1, "price": 200.0},
            ],
            "totalAmount": 400.0,
            "status": "PENDING",
        },
    )
    await shop.until_said("stock.reserved", order_id, {"orderId": order_id, "items": lines})
    await shop.until_said(
        "payment.initiated",
        order_id,
        {
            "paymentId": payment_id,
            "orderId": order_id,
            "userId": user,
            "amount": 400.0,
            "status": "PENDING",
        },
    )
    completed = {"paymentId": payment_id, "orderId": order_id, "status": "COMPLETED"}
    await shop.until_said("payment.completed", order_id, completed)
    await shop.until_said("stock.deducted", order_id, {"orderId": order_id, "items": lines})
    await shop.until_said("order.completed", order_id, completed)

    await shop.until_said("stock.updated", "123", {"productId": "123", "quantity": 48})


async def test_a_new_price_reaches_the_cart_and_a_deleted_product_leaves_it(shop: Shop) -> None:
    await shop.token("customer")
    user = shop.ids["customer"]
    body = {"id": "to-be-deleted", "name": "Last of its kind", "price": "5.00", "quantity": 5}
    assert (await shop.call("catalog", "POST", "/products", body, role="staff")).status_code == 201
    for product_id in ("product-123", "to-be-deleted"):
        added = await shop.call("cart", "POST", f"/carts/{user}/items", {"product_id": product_id, "quantity": 1})
        assert added.status_code == 201, added.text
    changed = await shop.call("catalog", "PUT", "/products/product-123", {"price": 120.0, "quantity": 30}, role="staff")
    assert changed.status_code == 200
    await shop.until_said(
        "product.updated", "product-123", {"productId": "product-123", "price": 120.0, "quantity": 30}
    )
    gone = await shop.call("catalog", "DELETE", "/products/to-be-deleted", role="staff")
    assert gone.status_code == 204
    await shop.until_said("product.deleted", "to-be-deleted", {"productId": "to-be-deleted"})

    await shop.until_said("stock.updated", "product-123", {"productId": "product-123", "quantity": 30})

    async def followed() -> bool:
        cart = (await shop.call("cart", "GET", f"/carts/{user}")).json()
        return [(line["product_id"], line["unit_price"]) for line in cart["items"]] == [("product-123", "120.00")]

    await until(followed, "the cart follows the catalog")
    assert (await shop.stock("product-123"))["on_hand"] == 30


async def test_a_price_alone_leaves_the_stock_as_it_is(shop: Shop) -> None:
    await shop.order([("product-123", 5)])
    await shop.call("catalog", "PUT", "/products/product-123", {"price": "31.00"}, role="staff")
    await shop.until_said("product.updated", "product-123", {"productId": "product-123", "price": 31.0})
    assert (await shop.stock("product-123"))["on_hand"] == 500


async def test_a_failed_payment_says_why_and_gives_the_stock_back(shop: Shop) -> None:
    declined = {**GOOD_CARD, "card_number": "4000000000009995"}
    order = await shop.order([("product-123", 2)], payment_method=declined)
    order_id = order["id"]
    failed = await shop.until_heard("payment.failed", order_id)
    assert failed == {"paymentId": failed["paymentId"], "orderId": order_id, "reason": "insufficient_funds"}
    released = await shop.until_heard("stock.released", order_id)
    assert released == {"orderId": order_id, "items": [{"productId": "product-123", "quantity": 2}]}
    await shop.until_said("order.cancelled", order_id, {"orderId": order_id, "reason": "payment_failed"})
    await shop.until_order_is(order_id, "cancelled")
    assert (await shop.stock("product-123"))["reserved"] == 0
