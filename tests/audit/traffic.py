"""A day in a shop: orders that end in every way there is, so that every law has something to hold for."""

from collections.abc import Mapping
from typing import Any

from tests.shop import DECLINED_CARD, GOOD_CARD, Shop, until

Story = Mapping[str, str]
"""The ids of the orders, by what became of them."""


async def a_day(shop: Shop) -> Story:
    """Orders that are confirmed, shipped, delivered, refunded, cancelled, refused, changed, or still wait."""
    await shop.token("staff")
    story = {
        "completed": await _bought(shop, [("product-123", 2), ("product-456", 1)]),
        "delivered": await _delivered(shop),
        "refunded in part": await _refunded_in_part(shop),
        "cancelled late": await _cancelled_late(shop),
        "cancelled early": await _cancelled_early(shop),
        "declined": await _declined(shop),
        "changed": await _changed(shop),
        "an amount": await _an_amount(shop),
        "from a cart": await _from_a_cart(shop),
        "too much": await _too_much(shop),
        "waiting": (await shop.order([("product-456", 4)]))["id"],
    }
    await _done(shop, "catalog", "PUT", "/products/kitchen-001", {"price": "13.25", "quantity": 40})
    await _done(shop, "catalog", "DELETE", "/products/kitchen-002")
    return story


async def _bought(shop: Shop, items: list[tuple[str, int]]) -> str:
    order = await shop.order(items, payment_method=GOOD_CARD)
    return str((await shop.until_order_is(order["id"], "completed"))["id"])


async def _delivered(shop: Shop) -> str:
    order_id = await _bought(shop, [("product-456", 1)])
    shipment_id = await _shipment_of(shop, order_id)
    await _done(shop, "shipping", "POST", f"/shipments/{shipment_id}/ship", {"carrier": "DHL"})
    await _done(shop, "shipping", "POST", f"/shipments/{shipment_id}/deliver")
    return order_id


async def _refunded_in_part(shop: Shop) -> str:
    order_id = await _bought(shop, [("product-123", 1)])
    payment = await _payment_of(shop, order_id)
    await _done(shop, "payment", "POST", f"/payments/{payment['id']}/refund", {"amount": "5.00"})
    await _until_refunded(shop, order_id, "5.00")
    return order_id


async def _cancelled_late(shop: Shop) -> str:
    order_id = await _bought(shop, [("product-123", 3)])
    await _shipment_of(shop, order_id)
    await _done(shop, "order", "DELETE", f"/orders/{order_id}")
    await _until_refunded(shop, order_id, "89.97")
    return order_id


async def _cancelled_early(shop: Shop) -> str:
    order_id = str((await shop.order([("product-123", 1)]))["id"])
    await _done(shop, "order", "DELETE", f"/orders/{order_id}")
    return order_id


async def _declined(shop: Shop) -> str:
    order = await shop.order([("product-123", 1)], payment_method=DECLINED_CARD)
    return str((await shop.until_order_is(order["id"], "cancelled"))["id"])


async def _changed(shop: Shop) -> str:
    order_id = str((await shop.order([("product-123", 2)]))["id"])
    await _done(shop, "order", "PUT", f"/orders/{order_id}", {"items": [{"product_id": "product-456", "quantity": 3}]})
    paying = {"order_id": order_id, "amount": "59.97", "payment_method": GOOD_CARD}
    await _done(shop, "payment", "POST", "/payments", paying, role="customer")
    await shop.until_order_is(order_id, "completed")
    return order_id


async def _an_amount(shop: Shop) -> str:
    order = await _done(shop, "order", "POST", "/orders", {"id": 7, "amount": 100.0})
    paying = {"order_id": order["id"], "amount": "100.00", "payment_method": GOOD_CARD}
    await _done(shop, "payment", "POST", "/payments", paying)
    await shop.until_order_is(order["id"], "completed")
    return str(order["id"])


async def _from_a_cart(shop: Shop) -> str:
    user = shop.ids["customer"]
    item = {"product_id": "product-789", "quantity": 2}
    await _done(shop, "cart", "POST", f"/carts/{user}/items", item, role="customer")
    paying = {"payment_method": GOOD_CARD}
    order_id = (await _done(shop, "cart", "POST", f"/carts/{user}/checkout", paying, role="customer"))["order_id"]
    await shop.until_heard("order.completed", order_id)
    return str(order_id)


async def _too_much(shop: Shop) -> str:
    """Accepted without waiting, refused by the inventory."""
    body = {"items": [{"product_id": "product-789", "quantity": 49}]}
    answer = await shop.call("order", "POST", "/orders", body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    return str((await shop.until_order_is(answer.json()["id"], "cancelled"))["id"])


async def _shipment_of(shop: Shop, order_id: str) -> str:
    found: list[str] = []

    async def prepared() -> bool:
        answer = await shop.call("shipping", "GET", f"/shipments?order_id={order_id}", role="staff")
        found[:] = [shipment["id"] for shipment in answer.json()["items"]]
        return bool(found)

    await until(prepared, f"order {order_id} has a shipment")
    return found[0]


async def _payment_of(shop: Shop, order_id: str) -> dict[str, Any]:
    [payment] = (await shop.call("payment", "GET", f"/payments/order/{order_id}", role="staff")).json()
    found: dict[str, Any] = payment
    return found


async def _until_refunded(shop: Shop, order_id: str, amount: str) -> None:
    async def refunded() -> bool:
        return str((await _payment_of(shop, order_id))["refunded_amount"]) == amount

    await until(refunded, f"{amount} of order {order_id} are back")


async def _done(
    shop: Shop, service: str, method: str, path: str, body: Any = None, *, role: str = "staff"
) -> dict[str, Any]:
    answer = await shop.call(service, method, path, body, role=role)
    assert answer.status_code < 300, answer.text
    done: dict[str, Any] = answer.json() if answer.content else {}
    return done
