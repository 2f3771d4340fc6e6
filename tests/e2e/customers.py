"""Customers who want many orders and repeat each request until it is answered, and what they were told.

Invariant: a customer accepts a business answer, a 503 that says when to come back, or a broken connection, which are
all that an installation may show while parts of it die; anything else fails the test.
"""

import asyncio
import itertools
import random
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.shop import GOOD_CARD

AT_ONCE = 40
PATIENCE_S = 30.0
"""Longer than any client should wait for one answer; the services give up sooner and say so."""
CARDS = ("4111111111111111",) * 6 + ("4000000000000002", "4000000000000010")
"""Mostly good; one is declined, and one is charged without the provider saying so."""
DECLINED = "4000000000000002"
PLENTY = ("product-123", "product-456", "kitchen-001", "kitchen-002")
SCARCE = "product-789"
CHANGE_THEIR_MIND = 9
"""Every so many-th order is cancelled again."""
WANT_THE_SCARCE = 11


@dataclass
class Told:
    """What a customer wanted, and what became known to them of one order."""

    key: str
    card: str
    lines: list[dict[str, Any]]
    order_ids: set[str] = field(default_factory=set)
    total: str | None = None
    refused: bool = False
    cancelled: bool = False
    repeated: int = 0


class Customers:
    """A crowd at the doors of several gateways."""

    def __init__(self, doors: Sequence[str], seed: int) -> None:
        self.journal: list[Told] = []
        self.answers: Counter[str] = Counter()
        """How often each kind of answer was given: statuses, and `broken` connections."""
        self.slowest_s = 0.0
        self._doors = itertools.cycle(doors)
        self._dice = random.Random(seed)
        self._wanted: asyncio.Queue[int | None] = asyncio.Queue()
        self._tokens: list[str] = []
        self._client = httpx2.AsyncClient(
            timeout=PATIENCE_S, trust_env=False, limits=httpx2.Limits(max_connections=2 * AT_ONCE)
        )

    @property
    def done(self) -> int:
        """How many orders are settled, as far as their customers are concerned."""
        return len(self.journal)

    async def register(self, count: int) -> None:
        """That many people with an account each."""
        for number in range(count):
            login = {"email": f"c{number}-{secrets.token_hex(4)}@example.com", "password": "correct horse battery"}
            await self._answered("POST", "/register", login, {})
            answer = await self._answered("POST", "/login", login, {})
            self._tokens.append(answer.json()["access_token"])

    def want(self, numbers: Sequence[int]) -> None:
        """Have these orders placed from now on."""
        for number in numbers:
            self._wanted.put_nowait(number)

    def want_no_more(self) -> None:
        """Nothing more is wanted: `buy` ends when all that was wanted is settled."""
        for _ in range(AT_ONCE):
            self._wanted.put_nowait(None)

    async def buy(self) -> None:
        """Place what is wanted, many at once, until no more is."""
        async with asyncio.TaskGroup() as crowd:
            for _ in range(AT_ONCE):
                crowd.create_task(self._one_after_the_other())

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _one_after_the_other(self) -> None:
        while (number := await self._wanted.get()) is not None:
            await self._settle(number)

    async def _settle(self, number: int) -> None:
        product = SCARCE if number % WANT_THE_SCARCE == 0 else self._dice.choice(PLENTY)
        lines = [{"product_id": product, "quantity": self._dice.randint(1, 3)}]
        told = Told(f"order-{number}", self._dice.choice(CARDS), lines)
        body = {"items": lines, "payment_method": {**GOOD_CARD, "card_number": told.card}}
        headers = {
            "Authorization": f"Bearer {self._tokens[number % len(self._tokens)]}",
            "Idempotency-Key": told.key,
        }
        answer = await self._answered("POST", "/orders", body, headers, told)
        if answer.status_code == 400:
            assert answer.json()["type"].endswith("insufficient-inventory"), answer.text
            told.refused = True
            told.order_ids.add(answer.json()["order_id"])
        else:
            told.order_ids.add(answer.json()["id"])
            told.total = answer.json()["total_amount"]
        if number % 7 == 0:
            await self._ask_once_more(body, headers, told)
        if number % CHANGE_THEIR_MIND == 0 and not told.refused:
            [order_id] = told.order_ids
            headers = {"Authorization": headers["Authorization"]}
            cancelled = await self._answered("DELETE", f"/orders/{order_id}", None, headers)
            assert cancelled.status_code == 200, cancelled.text
            told.cancelled = True
        self.journal.append(told)

    async def _ask_once_more(self, body: Any, headers: dict[str, str], told: Told) -> None:
        """A repetition after the answer gets the same answer."""
        again = await self._answered("POST", "/orders", body, headers, told)
        told.order_ids.add(again.json()["order_id" if told.refused else "id"])
        assert (again.status_code == 400) == told.refused, again.text

    async def _answered(
        self, method: str, path: str, body: Any, headers: dict[str, str], told: Told | None = None
    ) -> httpx2.Response:
        """The first business answer, at whichever door gives it."""
        began_s = asyncio.get_running_loop().time()
        while True:
            pause_s = 0.2
            try:
                answer = await self._client.request(
                    method, f"{next(self._doors)}/api/v1{path}", json=body, headers=headers
                )
            except httpx2.TimeoutException as error:
                raise AssertionError(f"{method} {path} was not answered within {PATIENCE_S:g} s") from error
            except httpx2.TransportError:
                self.answers["broken"] += 1
            else:
                self.answers[str(answer.status_code)] += 1
                if answer.status_code in {200, 201, 202, 400}:
                    took_s = asyncio.get_running_loop().time() - began_s
                    self.slowest_s = max(self.slowest_s, took_s)
                    return answer
                # A first attempt that still runs, and an installation that cannot answer now, say when to come back.
                assert answer.status_code in {409, 503}, f"{method} {path}: {answer.status_code} {answer.text}"
                pause_s = float(answer.headers["Retry-After"])
            if told is not None:
                told.repeated += 1
            await asyncio.sleep(min(pause_s, 5.0))
