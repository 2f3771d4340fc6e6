"""A shop to tell stories about: the whole platform on real ports, and a witness who hears every event.

Nothing is replaced. Time is real here, so stories wait for what must come true, with a deadline, and never for a
length of time.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx2
import pytest

from orderwright.cli import goods
from orderwright.cli.plan import make_plan
from orderwright.contracts import EVENTS
from orderwright.kernel.broker import Broker, Delivery
from orderwright.kernel.platform import GATEWAY, Platform
from orderwright.kernel.settings import PlatformSettings
from orderwright.services import PORTS

GOOD_CARD = {"type": "credit_card", "card_number": "4111111111111111", "expiry": "12/35", "cvv": "123"}
DECLINED_CARD = {**GOOD_CARD, "card_number": "4000000000000002"}
DEADLINE_S = 30.0


class Premises(Protocol):
    """Where the platform of a shop runs: in this process, or in several."""

    logins: dict[str, dict[str, str]]
    settings: dict[str, str]
    """What an operator's command needs in its environment to work on the same databases."""

    def address(self, service: str) -> str:
        """Where a service listens."""

    def broker(self) -> AbstractAsyncContextManager[Broker]:
        """The broker, to hear at for a while."""

    def away(self, service: str) -> AbstractContextManager[None]:
        """A while in which a service handles no event."""


class InProcess:
    """All services in this process."""

    def __init__(self, platform: Platform, logins: dict[str, dict[str, str]]) -> None:
        self.platform = platform
        self.logins = logins
        self.settings = {
            "ORDERWRIGHT_DATA_DIR": str(platform.settings.data_dir),
            "ORDERWRIGHT_DATABASE_URL": platform.settings.effective_database_url,
        }

    def address(self, service: str) -> str:
        return self.platform.doors[service].address

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Broker]:
        yield self.platform.broker

    @contextmanager
    def away(self, service: str) -> Iterator[None]:
        consumer = self.platform.runtimes[service].consumer
        back, handle = asyncio.Event(), consumer.hear

        async def held(deliveries: Sequence[Delivery]) -> None:
            await back.wait()
            await handle(deliveries)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(consumer, "_handle", held)
            patch.setattr(consumer, "hear", held)
            yield
        back.set()


class Shop:
    """The platform with its demo goods and people."""

    def __init__(self, premises: Premises) -> None:
        self.premises = premises
        self.logins = dict(premises.logins)
        self.heard: list[Delivery] = []
        self.tokens: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self._client = httpx2.AsyncClient(timeout=20, trust_env=False, limits=httpx2.Limits(max_connections=300))

    def url(self, service: str) -> str:
        """Where a service listens."""
        return self.premises.address(service)

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        role: str | None = "customer",
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx2.Response:
        """Send a request to a service's own port, or to the gateway."""
        sent = dict(headers or {})
        if role is not None:
            sent["Authorization"] = f"Bearer {await self.token(role)}"
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
            return await self._client.request(method, f"{self.url(service)}{path}", content=content, headers=sent)
        return await self._client.request(method, f"{self.url(service)}{path}", json=body, headers=sent)

    async def token(self, role: str) -> str:
        """An access token for a role of the demo, or for a customer that was registered here."""
        if role not in self.tokens:
            answer = await self._client.post(f"{self.url('identity')}/login", json=self.logins[role])
            assert answer.status_code == 200, answer.text
            self.tokens[role] = answer.json()["access_token"]
            me = await self.call("identity", "GET", "/me", role=role)
            self.ids[role] = me.json()["id"]
        return self.tokens[role]

    async def register(self, name: str) -> str:
        """A new customer, who is then a role of that name; answers the id."""
        email = f"{name}-{secrets.token_hex(4)}@example.com"
        self.logins[name] = {"email": email, "password": f"correct horse {name}"}
        answer = await self._client.post(f"{self.url('identity')}/register", json=self.logins[name])
        assert answer.status_code == 201, answer.text
        await self.token(name)
        return self.ids[name]

    async def order(self, items: list[tuple[str, int]], *, role: str = "customer", **more: Any) -> dict[str, Any]:
        """Place an order at the gateway; it must be accepted."""
        lines = [{"product_id": product, "quantity": quantity} for product, quantity in items]
        answer = await self.call(GATEWAY, "POST", "/api/v1/orders", {"items": lines, **more}, role=role)
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()
        return order

    async def status_of(self, order_id: str) -> str:
        """An order's status now."""
        answer = await self.call("order", "GET", f"/orders/{order_id}", role="staff")
        return str(answer.json()["status"])

    async def until_order_is(self, order_id: str, status: str) -> dict[str, Any]:
        """Wait until an order has that status."""

        async def there() -> bool:
            return await self.status_of(order_id) == status

        await until(there, f"order {order_id} is {status}")
        answer = await self.call("order", "GET", f"/orders/{order_id}", role="staff")
        order: dict[str, Any] = answer.json()
        return order

    async def until_heard(self, topic: str, key: str) -> dict[str, Any]:
        """Wait for an event; answers its body as it was on the wire."""

        def found() -> list[dict[str, Any]]:
            return [json.loads(d.body) for d in self.heard if d.topic == topic and d.key == key]

        async def there() -> bool:
            return bool(found())

        await until(there, f"{topic} of {key}")
        return found()[-1]

    async def until_said(self, topic: str, key: str, body: dict[str, Any]) -> None:
        """Wait until an event with exactly that body is heard."""
        heard: list[dict[str, Any]] = []

        async def there() -> bool:
            heard[:] = [json.loads(d.body) for d in self.heard if d.topic == topic and d.key == key]
            return body in heard

        try:
            await until(there, f"{topic} of {key} says {body}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said {heard}") from None

    async def stock(self, product_id: str) -> dict[str, Any]:
        """A product's stock now."""
        answer = await self.call("inventory", "GET", f"/products/{product_id}/stock", role=None)
        level: dict[str, Any] = answer.json()
        return level

    async def witness(self, ready: asyncio.Event) -> None:
        """Hear everything that is said from the moment that `ready` is set."""
        topics = [event.topic for event in EVENTS]
        async with self.premises.broker() as broker:
            subscription = await broker.subscribe(f"witness-{secrets.token_hex(4)}", topics)
            ready.set()
            while deliveries := await subscription.receive():
                self.heard.extend(deliveries)
                await subscription.acknowledge(deliveries)

    async def close(self) -> None:
        await self._client.aclose()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for `condition`; fails, naming `what`, when it has not come true in time."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"In {DEADLINE_S} s it did not come true that {what}") from None


@asynccontextmanager
async def open_shop(folder: Path, broker_url: str = "memory://") -> AsyncIterator[Shop]:
    """The platform in this process, running on free ports with its data in `folder`."""
    settings = PlatformSettings(data_dir=folder, broker_url=broker_url, stop_timeout_s=2)
    platform = Platform(make_plan(list(PORTS), settings, ports={}), settings)
    await platform.start()
    try:
        async with visit(InProcess(platform, await goods.stock_up(platform))) as shop:
            yield shop
    finally:
        await platform.stop()


@asynccontextmanager
async def visit(premises: Premises) -> AsyncIterator[Shop]:
    """A shop that has its goods, and a witness in it."""
    shop, ready = Shop(premises), asyncio.Event()
    witness = asyncio.create_task(shop.witness(ready))
    try:
        await until(lambda: _has_goods(shop), "the inventory has the demo's goods")
        await ready.wait()
        yield shop
    finally:
        await shop.close()
        witness.cancel()
        await asyncio.gather(witness, return_exceptions=True)


async def _has_goods(shop: Shop) -> bool:
    answers = [
        await shop.call("inventory", "GET", f"/products/{product}/stock", role=None)
        for product in ("product-123", "product-456", "product-789", "paper-009")
    ]
    return all(answer.status_code == 200 for answer in answers)
