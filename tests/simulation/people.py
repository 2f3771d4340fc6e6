"""Customers: what they do, and what they were told.

They order with and without a card, from a cart, pay late, click twice, give up waiting, change their mind about goods
and about the whole order. Each customer wants one order, so two orders of one customer are one too many.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.simulation.faults import Faults
from tests.simulation.loop import SimLoop
from tests.simulation.network import Answer, Network, NoAnswerError, Request
from tests.simulation.trace import Trace

GOODS: Mapping[str, tuple[str, int]] = {"mug": ("19.99", 3), "pen": ("5.00", 60), "lamp": ("120.00", 2)}
"""Price and quantity at the beginning; of some there is not enough for everybody."""
NOVELTY = "vase"
"""Comes into the catalog during the run; a cart may know of it before the order service does."""
GOOD_CARD = "4111111111111111"
CARDS = (
    *(GOOD_CARD,) * 6,
    "4000000000000002",
    "4000000000000010",
    "4000000000000028",
    "4000000000000036",
    "4000000000000044",
)
TRIES = 12
PATIENCE_S = 12.0
COME_AGAIN = frozenset({"request-in-progress", "payment-in-progress", "change-in-progress"})


@dataclass(frozen=True, slots=True)
class Told:
    """One answer that somebody can rely on."""

    what: str
    order_id: str
    detail: Any = None


@dataclass(slots=True)
class Journal:
    """What clients were told, written down by them."""

    told: list[Told] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    """The customers who wanted an order, each of them one."""

    def note(self, what: str, order_id: str, detail: Any = None) -> None:
        """Somebody was told."""
        self.told.append(Told(what, order_id, detail))


@dataclass(frozen=True, slots=True)
class Town:
    """What people live in."""

    network: Network
    loop: SimLoop
    faults: Faults
    trace: Trace
    journal: Journal


class Person:
    """Somebody who sends requests."""

    def __init__(self, town: Town, name: str, role: str, dice: random.Random) -> None:
        self.town = town
        self.name = name
        self.dice = dice
        self.changes_goods = False
        """Whether this person has begun to want other goods: a second wish would make it unclear which was last."""
        self._authorization = f"Bearer {name} {role}"

    async def once(self, service: str, method: str, path: str, body: Any = None, **more: str) -> Answer | None:
        """Send a request; None when no answer came, or this person did not wait for it."""
        path, _, query = path.partition("?")
        headers = {"content-type": "application/json", "authorization": self._authorization}
        if "key" in more:
            headers["idempotency-key"] = more["key"]
        content = b"" if body is None else msgspec.json.encode(body)
        asking = self.town.loop.create_task(
            self.town.network.ask(Request(service, method, path, query, headers, content))
        )
        patience_s = PATIENCE_S
        if self.town.faults.strikes("client goes away"):
            self.town.trace.reach("fault: client goes away")
            patience_s = self.town.faults.dice("client goes away").choice((0.0, 0.001, 0.002, 0.01, 0.5))
        self.town.loop.call_later(patience_s, asking.cancel)
        try:
            answer = await asking
        except (NoAnswerError, asyncio.CancelledError) as error:
            self.town.trace.say(self.name, f"{method} {path}: {type(error).__name__}")
            return None
        self.town.trace.say(self.name, f"{method} {path}: {answer.status}")
        if answer.headers.get("idempotency-replayed"):
            self.town.trace.reach("answer replayed for an Idempotency-Key")
        return answer

    async def insist(self, service: str, method: str, path: str, body: Any = None, **more: str) -> Answer | None:
        """Send it until it is answered for good; None when this person has given up."""
        for _ in range(TRIES):
            answer = await self.once(service, method, path, body, **more)
            if answer is not None and answer.status < 500 and _problem(answer) not in COME_AGAIN:
                return answer
            await asyncio.sleep(self.dice.choice((0.01, 0.5, 2.0, 6.0)))
        return None

    def some_goods(self) -> list[dict[str, Any]]:
        """One or two products, a few of each."""
        chosen = self.dice.sample(sorted(GOODS), self.dice.choice((1, 1, 2)))
        return [{"product_id": product, "quantity": self.dice.choice((1, 1, 2))} for product in chosen]

    def some_card(self) -> dict[str, str]:
        """A card: mostly a good one."""
        return card(self.dice.choice(CARDS))


def card(number: str) -> dict[str, str]:
    """A card as it is typed in."""
    return {"type": "credit_card", "card_number": number, "expiry": "12/35", "cvv": "123"}


def _problem(answer: Answer) -> str:
    document = answer.json
    kind = document.get("type", "") if isinstance(document, dict) and answer.status >= 400 else ""
    return str(kind).rpartition("/")[2]


async def shop(me: Person) -> None:
    """One customer's day."""
    journal = me.town.journal
    journal.wanted.append(me.name)
    await asyncio.sleep(me.dice.uniform(0, me.town.faults.plan.chaos_s * 0.6))
    way = me.dice.choice((order_with_card, order_with_card, order_and_pay, order_and_pay, check_out_cart))
    order_id = await way(me)
    if order_id is None:
        return
    async with asyncio.TaskGroup() as later:
        if me.dice.random() < 0.15 and not me.changes_goods:
            later.create_task(change_goods(me, order_id, me.dice.choice((0.1, 1.0, 5.0))))
        if me.dice.random() < 0.35:
            later.create_task(cancel(me, order_id))
        if me.dice.random() < 0.3:
            later.create_task(look(me, order_id))


async def order_with_card(me: Person) -> str | None:
    """Order and pay at once."""
    return await _place(me, {"items": me.some_goods(), "payment_method": me.some_card()})


async def order_and_pay(me: Person) -> str | None:
    """Order, and pay a while later, or never."""
    order_id = await _place(me, {"items": me.some_goods()})
    if order_id is not None and me.dice.random() < 0.85:
        await pay(me, order_id)
    return order_id


async def check_out_cart(me: Person) -> str | None:
    """Fill a cart and check it out."""
    goods = me.some_goods()
    if me.dice.random() < 0.3:
        goods.append({"product_id": NOVELTY, "quantity": 1})
    for number, line in enumerate(goods):
        answer = await me.insist("cart", "POST", f"/carts/{me.name}/items", line, key=f"item-{number}")
        if answer is None or answer.status != 201:
            return None
    body = {"payment_method": me.some_card()} if me.dice.random() < 0.7 else None
    answer = await me.insist("cart", "POST", f"/carts/{me.name}/checkout", body, key="check-out")
    if answer is None or answer.status != 202:
        return None
    order_id = str(answer.json["order_id"])
    me.town.journal.note("accepted", order_id, me.name)
    return order_id


async def pay(me: Person, order_id: str) -> None:
    """Pay for an order, perhaps too late, perhaps twice at once."""
    await asyncio.sleep(me.dice.choice((0.0, 0.0, 1.0, 10.0, me.dice.uniform(20, 50))))
    found = await me.insist("order", "GET", f"/orders/{order_id}")
    if found is None or found.status != 200:
        return
    body = {"order_id": order_id, "amount": found.json["total_amount"], "payment_method": me.some_card()}
    clicks = me.dice.choice((1, 1, 2, 3))
    same_key = me.dice.random() < 0.5
    async with asyncio.TaskGroup() as hands:
        if me.dice.random() < 0.4:
            hands.create_task(change_goods(me, order_id, 0.0))
            # Long enough for the change to have begun, too short for it to be done.
            await asyncio.sleep(me.dice.choice((0.0, 0.002, 0.004, 0.006, 0.02)))
        for click in range(clicks):
            hands.create_task(_pay_once(me, order_id, body, "pay" if same_key else f"pay-{click}"))


async def _pay_once(me: Person, order_id: str, body: Any, key: str) -> None:
    answer = await me.insist("payment", "POST", "/payments", body, key=key)
    if answer is not None and answer.status == 201:
        me.town.journal.note("paid", order_id, answer.json["id"])
    elif answer is not None and answer.status == 400:
        me.town.journal.note("declined", order_id)


async def change_goods(me: Person, order_id: str, after_s: float) -> None:
    """Want other goods, perhaps while paying."""
    me.changes_goods = True
    await asyncio.sleep(after_s)
    items = me.some_goods()
    answer = await me.insist("order", "PUT", f"/orders/{order_id}", {"items": items})
    if answer is not None and answer.status == 200:
        me.town.trace.reach("goods of an order changed")
        wanted = sorted((line["product_id"], line["quantity"]) for line in items)
        me.town.journal.note("changed", order_id, wanted)


async def cancel(me: Person, order_id: str) -> None:
    """Not want it after all."""
    await asyncio.sleep(me.dice.choice((0.0, 0.01, 0.1, 1.0, 3.0, 10.0, 30.0)))
    await cancel_now(me, order_id)


async def cancel_now(me: Person, order_id: str) -> None:
    """Cancel an order, and note what was answered."""
    answer = await me.insist("order", "DELETE", f"/orders/{order_id}")
    if answer is not None and answer.status == 200 and answer.json["status"] == "cancelled":
        me.town.journal.note("cancelled", order_id)
    elif answer is not None and answer.status == 409:
        me.town.trace.reach("cancellation refused")
        me.town.journal.note("left", order_id)


async def look(me: Person, order_id: str) -> None:
    """See how it stands."""
    await asyncio.sleep(me.dice.uniform(0, 20))
    answer = await me.once("order", "GET", f"/orders/{order_id}")
    if answer is not None and answer.status == 200:
        me.town.journal.note("seen", order_id, answer.json["status"])


async def _place(me: Person, body: Any) -> str | None:
    clicks = 2 if me.dice.random() < 0.2 else 1
    async with asyncio.TaskGroup() as hands:
        sent = [hands.create_task(me.insist("order", "POST", "/orders", body, key="my-order")) for _ in range(clicks)]
    placed = {str(a.json["id"]) for a in (task.result() for task in sent) if a is not None and a.status in {201, 202}}
    for order_id in sorted(placed):
        me.town.journal.note("accepted", order_id, me.name)
    for answer in (task.result() for task in sent):
        if answer is not None and answer.status == 400 and "order_id" in answer.json:
            me.town.journal.note("no stock", answer.json["order_id"])
    return min(placed, default=None)
