"""Customers who order: as fast as they are answered (closed loop), or at a rate that waits for nobody (open loop).

Invariant: in the open loop a request's latency counts from the moment at which it was due, so a platform that stalls is
charged for everybody who had to wait (Tene, "How NOT to Measure Latency").
"""

import asyncio
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.http import Client

CARD = {"type": "credit_card", "card_number": "4111111111111111", "expiry": "12/35", "cvv": "123"}
ACCEPTED = (201, 202)
TOKEN_KEPT_S = 600.0


@dataclass
class Sent:
    """What became of the requests."""

    began_s: float
    latency_s: list[float] = field(default_factory=list)
    due_at: dict[str, float] = field(default_factory=dict)
    """The clock's time at which each accepted order was due, by its id."""
    answers: Counter[int] = field(default_factory=Counter)
    told_when_to_retry: int = 0
    """Answers with a Retry-After."""
    ended_s: float = 0.0


class Customers:
    """Everybody who orders, through the gateway."""

    def __init__(
        self,
        gateway: str,
        login: dict[str, str],
        products: Sequence[str],
        *,
        lines: int = 2,
        service: str | None = None,
        keys: bool = True,
    ) -> None:
        self._gateway = _client(gateway)
        # To the order service itself, past the gateway, where its address is given.
        self._client, self._path = (
            (self._gateway, "/api/v1/orders") if service is None else (_client(service), "/orders")
        )
        self._login = login
        self._products = list(products)
        self._lines = lines
        self._keys = keys
        self._dice = random.Random(5)
        self._token = ""
        self._known_until_s = 0.0

    async def log_in(self) -> None:
        """Get a token, unless there is one that is young enough; they last for fifteen minutes."""
        if time.time() < self._known_until_s:
            return
        self._known_until_s = time.time() + TOKEN_KEPT_S
        answer = await self._gateway.ask("POST", "/api/v1/login", json.dumps(self._login).encode())
        self._token = json.loads(answer.body)["access_token"]

    async def as_fast_as_answered(self, orders: int, *, at_once: int) -> Sent:
        """So many orders by `at_once` customers, each of whom waits for the answer."""
        sent, wanted = Sent(time.time()), iter(range(orders))

        async def buy() -> None:
            for _ in wanted:
                await self._order(sent, time.time())

        await asyncio.gather(*(buy() for _ in range(at_once)))
        sent.ended_s = time.time()
        return sent

    async def at_rate(self, per_second: float, *, seconds: float) -> Sent:
        """Orders that come when they come, whoever is still waiting."""
        sent = Sent(time.time())
        async with asyncio.TaskGroup() as tasks:
            due = sent.began_s
            while due < sent.began_s + seconds:
                await asyncio.sleep(max(0.0, due - time.time()))
                await self.log_in()
                tasks.create_task(self._order(sent, due))
                due += self._dice.expovariate(per_second)
        sent.ended_s = time.time()
        return sent

    async def take_in(self, product: str, *, quantity: int) -> None:
        """Sell a new product; this takes a login of staff. RuntimeError when it is refused."""
        body = json.dumps({"id": product, "name": product, "price": 12.5, "quantity": quantity}).encode()
        answer = await self._gateway.ask("POST", "/api/v1/products", body, token=self._token)
        if answer.status != 201:
            raise RuntimeError(f"{product} was not taken in: {answer.status} {answer.body.decode()}")

    async def _order(self, sent: Sent, due_at: float) -> None:
        chosen = self._dice.sample(self._products, min(self._lines, len(self._products)))
        items = [{"product_id": product, "quantity": 1} for product in chosen]
        body = json.dumps({"items": items, "payment_method": CARD}).encode()
        key = f"Idempotency-Key: {secrets.token_hex(12)}\r\n" if self._keys else ""
        try:
            answer = await self._client.ask("POST", self._path, body, token=self._token, headers=key)
        except (OSError, TimeoutError):
            sent.answers[0] += 1
            return
        sent.latency_s.append(time.time() - due_at)
        sent.answers[answer.status] += 1
        sent.told_when_to_retry += answer.retry_after_s is not None
        if answer.status in ACCEPTED:
            sent.due_at[json.loads(answer.body)["id"]] = due_at


def _client(url: str) -> Client:
    parts = urlsplit(url)
    return Client(parts.hostname or "", parts.port or 80)


def percentiles_ms(values_s: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    ordered = sorted(values_s)
    if not ordered:
        return {}
    return {f"p{q}": round(ordered[min(len(ordered) - 1, len(ordered) * q // 100)] * 1000, 1) for q in (50, 95, 99)}
