"""Customers who insist: each request is sent, with one Idempotency-Key, until it is answered.

Invariant: what a customer wants follows from the seed and the customer's number; only how often it has to be asked
depends on what fails.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from chaos.journal import Journal, Said

GOOD, DECLINED, TAKEN_BUT_SILENT = "4111111111111111", "4000000000000002", "4000000000000010"
"""Cards of the sandbox; the last one takes the money and does not answer (docs/reference/sandbox-cards.md)."""
CARDS: Final = (GOOD, GOOD, GOOD, GOOD, DECLINED, TAKEN_BUT_SILENT)
GOODS: Final = ("product-123", "product-456", "kitchen-001", "kitchen-002", "paper-001")
SCARCE: Final = "product-789"
"""Of which there is not enough for everybody."""
TIMEOUT_S: Final = 12.0
PAUSE_S: Final = (0.2, 1.2)
AGAIN: Final = frozenset({401, 429, 502, 503, 504})
"""Answers that say: ask again."""


@dataclass(slots=True)
class Answer:
    """The answer that ended the asking."""

    status: int
    body: dict[str, Any]


@dataclass
class Customer:
    """One of them."""

    number: int
    api: str
    login: dict[str, str]
    client: httpx2.AsyncClient
    journal: Journal
    dice: random.Random
    closing: asyncio.Event
    """Set when no new order is to be begun."""
    id: str = ""
    _token: str | None = None
    _orders: int = field(default=0)

    async def shop(self) -> None:
        """Order, pay and cancel until the shop closes; what was begun is brought to its end."""
        while not self.closing.is_set():
            self._orders += 1
            await self._one_order(f"c{self.number}-o{self._orders}")
            await asyncio.sleep(self.dice.uniform(*PAUSE_S))

    async def _one_order(self, key: str) -> None:
        dice = self.dice
        product = SCARCE if dice.random() < 0.1 else dice.choice(GOODS)
        body: dict[str, Any] = {"items": [{"product_id": product, "quantity": dice.randint(1, 3)}]}
        card, pays_later, cancels = dice.choice(CARDS), dice.random() < 0.3, dice.random() < 0.2
        pause_s, forgets = dice.uniform(0, 3), dice.random() < 0.2
        if not pays_later:
            body["payment_method"] = _card(card)
        answer = await self.insist("order", "POST", "/orders", key, body)
        order_id = answer.body.get("id")
        if answer.status not in {201, 202} or order_id is None:
            return
        if pays_later and not forgets:
            paying = {"order_id": order_id, "amount": answer.body["total_amount"], "payment_method": _card(card)}
            await self.insist("pay", "POST", "/payments", f"{key}-pay", paying, order_id=order_id)
        if cancels:
            await asyncio.sleep(pause_s)
            await self.insist("cancel", "DELETE", f"/orders/{order_id}", order_id, None, order_id=order_id)

    async def insist(
        self, did: str, method: str, path: str, key: str, body: dict[str, Any] | None, *, order_id: str | None = None
    ) -> Answer:
        """Ask until there is an answer that ends the matter, and write it down."""
        name = f"cancel {key}" if did == "cancel" else key
        self.journal.asked(name, f"{method} {path}")
        began_s, tries = time.monotonic(), 0
        while True:
            tries += 1
            response = await self._ask(method, path, key, body)
            if response is not None and not self._again(did, response):
                break
            await asyncio.sleep(self.dice.uniform(0.2, 0.6))
        found: dict[str, Any] = response.json() if response.content else {}
        about = order_id or found.get("id") or found.get("order_id")
        problem = str(found["type"]).rpartition("/")[2] if "title" in found else None
        self.journal.told(
            Said(
                *(self.id, did, key, body, response.status_code, about, found.get("id")),
                began_s=began_s,
                answered_s=time.monotonic(),
                tries=tries,
                problem=problem,
            )
        )
        return Answer(response.status_code, found)

    async def _ask(self, method: str, path: str, key: str, body: dict[str, Any] | None) -> httpx2.Response | None:
        """Ask once; None when there was no answer."""
        try:
            if self._token is None:
                await self._log_in()
            headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key}
            return await self.client.request(method, f"{self.api}{path}", json=body, headers=headers)
        except httpx2.TransportError as error:
            self.journal.met[type(error).__name__] += 1
            return None
        except NotLoggedIn as error:
            self.journal.met[f"log-in {error}"] += 1
            return None

    async def ask_once(self, path: str, key: str, body: dict[str, Any] | None) -> tuple[int | None, dict[str, Any]]:
        """Send a request once, past the journal; the status is None when it should be sent again."""
        response = await self._ask("POST", path, key, body)
        if response is None or self._again("again", response):
            return None, {}
        return response.status_code, response.json()

    def _again(self, did: str, response: httpx2.Response) -> bool:
        status = response.status_code
        if status == 401:
            self._token = None
        if status >= 500 and status not in AGAIN:
            self.journal.strange.append(f"{did} of {self.id} was answered {status}: {response.text[:300]}")
        # Payment may not have heard of an order yet that was placed a moment ago.
        unheard = did == "pay" and status == 404
        again = status in AGAIN or status >= 500 or unheard or (status == 409 and "retry-after" in response.headers)
        if again:
            self.journal.met[str(status)] += 1
        return again

    async def _log_in(self) -> None:
        answer = await self.client.post(f"{self.api}/login", json=self.login)
        if answer.status_code != 200:
            raise NotLoggedIn(answer.status_code)
        self._token = answer.json()["access_token"]

    async def register(self) -> None:
        """Become a customer; while nothing fails yet."""
        answer = await self.client.post(f"{self.api}/register", json=self.login)
        answer.raise_for_status()
        await self._log_in()
        me = await self.client.get(f"{self.api}/me", headers={"Authorization": f"Bearer {self._token}"})
        self.id = str(me.json()["id"])


class NotLoggedIn(Exception):
    """The log-in was answered with this status."""


def customers(
    count: int, seed: int, api: str, client: httpx2.AsyncClient, journal: Journal, closing: asyncio.Event
) -> list[Customer]:
    """So many, with logins of their own."""
    made = []
    for number in range(count):
        login = {"email": f"chaos-{number}@example.com", "password": f"correct horse {number}"}
        dice = random.Random(f"{seed}, customer {number}")
        made.append(Customer(number, api, login, client, journal, dice, closing))
    return made


async def fill_shelves(api: str, client: httpx2.AsyncClient, staff: dict[str, str]) -> None:
    """Enough of everything but the scarce product."""
    token = (await client.post(f"{api}/login", json=staff)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    for product in GOODS:
        for _ in range(100):
            level = {"on_hand": 100_000}
            answer = await client.put(f"{api}/products/{product}/stock", json=level, headers=headers)
            if answer.status_code == 200:
                break
            # The inventory has not heard of the product yet.
            await asyncio.sleep(0.2)
        else:
            raise RuntimeError(f"the shelf of {product} could not be filled: {answer.text}")


def _card(number: str) -> dict[str, str]:
    return {"type": "credit_card", "card_number": number, "expiry": "12/35", "cvv": "123"}
