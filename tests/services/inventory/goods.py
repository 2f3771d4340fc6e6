"""Goods and orders for the inventory's tests, and what must hold after each of them."""

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from orderwright.contracts.catalog import ProductCreated
from orderwright.contracts.orders import OrderCancelled, OrderCreated, OrderLine
from orderwright.contracts.payments import PaymentCompleted
from orderwright.kernel.testing import BenchAnswer, ServiceBench
from orderwright.services.inventory.tables import reservation_lines, reservations, stock

STAFF = ("staff",)
PRICE = Decimal("1.00")


def product(product_id: str, quantity: int) -> ProductCreated:
    return ProductCreated(product_id=product_id, name=product_id, price=PRICE, quantity=quantity)


def order(order_id: str, *lines: tuple[str, int], user: str = "u") -> OrderCreated:
    items = [OrderLine(product_id=product_id, quantity=quantity, price=PRICE) for product_id, quantity in lines]
    return OrderCreated(order_id=order_id, user_id=user, items=items, total_amount=PRICE)


def paid(order_id: str) -> PaymentCompleted:
    return PaymentCompleted(payment_id=f"p-{order_id}", order_id=order_id)


def cancelled(order_id: str) -> OrderCancelled:
    return OrderCancelled(order_id=order_id, reason="x")


def kinds(bench: ServiceBench) -> list[tuple[str, str]]:
    return [(type(event).__name__, event.key) for event in bench.take_said()]


async def level(bench: ServiceBench, product_id: str) -> tuple[int, int]:
    answer = await bench.request("GET", f"/products/{product_id}/stock", roles=())
    return answer.json["on_hand"], answer.json["reserved"]


async def assert_adds_up(bench: ServiceBench) -> None:
    """Counters equal rows, everywhere."""
    held: dict[tuple[str, str, str], int] = {}
    query = sa.select(reservations.c.status, reservation_lines).join(
        reservation_lines, reservation_lines.c.reservation_id == reservations.c.id
    )
    for row in await bench.rows(query):
        key = (row["status"], row["product_id"], row["warehouse_id"])
        held[key] = held.get(key, 0) + row["quantity"]
    for row in await bench.rows(sa.select(stock)):
        place = (row["product_id"], row["warehouse_id"])
        assert 0 <= row["reserved"] <= row["on_hand"]
        assert row["on_hand"] == row["received"] - row["sold"] + row["returned"]
        assert row["reserved"] == held.get(("reserved", *place), 0)
        assert row["sold"] - row["returned"] == held.get(("deducted", *place), 0)


async def reservation_of(bench: ServiceBench, order_id: str) -> dict[str, Any]:
    """The one reservation of an order, as staff see it."""
    [found] = (await bench.request("GET", "/reservations", query=f"order_id={order_id}", roles=STAFF)).json
    assert isinstance(found, dict)
    return found


def problem_of(answer: BenchAnswer) -> tuple[int, str]:
    """An error answer's status and the last word of its type."""
    return answer.status, answer.json["type"].rpartition("/")[2]
