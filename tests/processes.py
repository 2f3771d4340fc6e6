"""The platform as it runs in production: every service in processes of its own, on PostgreSQL and a real broker.

A shop may be shared by many stories; between two of them it is tidied up through its own routes.
"""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from orderwright.kernel.broker import Broker
from orderwright.kernel.brokers import open_broker
from tests.brokers import broker_url
from tests.databases import fresh_databases
from tests.shop import Shop, until
from tools.fleet import Fleet, running

FULL = {"product-123": ("29.99", 500), "product-456": ("19.99", 500), "product-789": ("9.99", 50)}
OPEN = ("pending", "awaiting_payment", "confirmed")


class Processes:
    """The premises of a shop whose services run in processes of their own."""

    def __init__(self, fleet: Fleet, logins: dict[str, dict[str, str]]) -> None:
        self.fleet = fleet
        self.logins = logins
        self.settings = fleet.environment

    def address(self, service: str) -> str:
        return self.fleet.address(service)

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Broker]:
        async with open_broker(self.fleet.broker_url) as opened:
            yield opened

    @contextmanager
    def away(self, service: str) -> Iterator[None]:
        for member in self.fleet.of(service):
            member.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for member in self.fleet.of(service):
                member.signal(signal.SIGCONT)


@contextmanager
def processes(folder: Path, broker: str, *, copies: int = 1, **settings: str) -> Iterator[Processes]:
    """The platform on PostgreSQL and a broker of that kind, with nothing in it but the demo's goods."""
    with fresh_databases("postgres", folder) as database:
        fleet = Fleet(folder, database, broker_url(broker), copies=copies, settings=settings)
        with running(fleet):
            yield Processes(fleet, fleet.load_demo())
            statuses = fleet.stop()
            assert set(statuses.values()) == {0}, f"not all stopped cleanly: {statuses}"


async def tidy_up(shop: Shop) -> None:
    """As the shop was when it opened: nothing is on its way, the shelves are full, the customer is a new one."""
    for status in OPEN:
        for order in await _orders(shop, status):
            await shop.call("order", "PUT", f"/orders/{order}/cancel", role="staff")
    for product, (price, quantity) in FULL.items():
        await until(partial(_nothing_reserved, shop, product), f"nothing of {product} is reserved")
        filled = await shop.call("inventory", "PUT", f"/products/{product}/stock", {"on_hand": quantity}, role="staff")
        priced = await shop.call("catalog", "PUT", f"/products/{product}", {"price": price}, role="staff")
        assert (filled.status_code, priced.status_code) == (200, 200), filled.text + priced.text
        await until(partial(_costs, shop, product, price), f"{product} costs {price}")
    await shop.register("customer")


async def _orders(shop: Shop, status: str) -> list[str]:
    found = (await shop.call("order", "GET", f"/orders?status={status}&limit=100", role="staff")).json()["items"]
    return [order["id"] for order in found]


async def _nothing_reserved(shop: Shop, product: str) -> bool:
    return bool((await shop.stock(product))["reserved"] == 0)


async def _costs(shop: Shop, product: str, price: str) -> bool:
    """Asked by an order that expects another price, which is refused and names the right one."""
    line = {"product_id": product, "quantity": 1, "unit_price": "0.01"}
    answer = await shop.call("order", "POST", "/orders", {"items": [line]}, role="staff")
    assert answer.status_code == 409, answer.text
    return bool(answer.json()["unit_price"] == price)
