"""What the payment service's tests say to it, and the provider's own books, which are the judge."""

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from orderwright.contracts.inventory import StockReserved
from orderwright.contracts.orders import OrderCancelled, OrderCreated, OrderLine
from orderwright.kernel.testing import ServiceBench
from orderwright.services.payment.api.desk import PaymentDesk
from orderwright.services.payment.providers import sandbox as sandbox_books
from orderwright.services.payment.providers.sandbox import Sandbox
from orderwright.services.payment.tables import payments


def created(order_id: str = "o", amount: str = "30.00", *, goods: bool = True) -> OrderCreated:
    items = [OrderLine(product_id="a", quantity=1, price=Decimal(amount))] if goods else []
    return OrderCreated(order_id=order_id, user_id="customer-1", items=items, total_amount=Decimal(amount))


RESERVED = StockReserved(order_id="o", items=[])
CANCELLED = OrderCancelled(order_id="o", reason="x")


def card(number: str = "4111111111111111", **changes: str) -> dict[str, str]:
    return {"type": "credit_card", "card_number": number, "expiry": "12/35", "cvv": "123", **changes}


def paying(number: str = "4111111111111111", amount: str = "30.00") -> dict[str, Any]:
    return {"order_id": "o", "amount": amount, "payment_method": card(number)}


async def name_method(bench: ServiceBench, number: str = "4111111111111111") -> None:
    """As the order service says it, before the order exists."""
    items = [{"order_id": "o", "customer_id": "customer-1", "payment_method": card(number)}]
    answer = await bench.request("POST", "/payment-methods", {"items": items}, roles=("service",))
    assert answer.json["results"][0]["ok"]


async def provider_books(bench: ServiceBench) -> tuple[int, int]:
    """(charges that were captured, amount that went back), in the provider's own words."""
    books = bench.runtime.service.desk.provider._books  # type: ignore[attr-defined]
    charges, refunds = sandbox_books.charges, sandbox_books.refunds
    taken = sa.select(sa.func.count()).where(charges.c.outcome == "captured")
    back = sa.select(sa.func.coalesce(sa.func.sum(refunds.c.amount_minor), 0))
    found: tuple[int, int] = await books.read(
        lambda connection: (connection.execute(taken).scalar(), connection.execute(back).scalar())
    )
    return found


def said(bench: ServiceBench) -> list[str]:
    return [type(event).__name__ for event in bench.take_said()]


def sandbox(bench: ServiceBench) -> Sandbox:
    """The provider."""
    desk = bench.runtime.service.desk
    assert isinstance(desk, PaymentDesk)
    assert isinstance(desk.provider, Sandbox)
    return desk.provider


async def state(bench: ServiceBench) -> str:
    """The state that the order's payment is really in."""
    [row] = await bench.rows(sa.select(payments.c.status))
    return str(row["status"])
