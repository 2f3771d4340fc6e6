"""Staff: they ship, deliver, refund a part or all, order amounts for customers, and take in a product meanwhile."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tests.simulation.disk import Disk
from tests.simulation.people import NOVELTY, Person, cancel_now

DEAD = "SELECT 1 FROM kept_messages WHERE state = 'dead' LIMIT 1"


async def work_as_staff(me: Person, until_s: float) -> None:
    """Now and then do something with an order that there is: ship it, bring it, refund a part."""
    while me.town.loop.time() < until_s:
        await asyncio.sleep(me.dice.uniform(1, 6))
        orders = sorted({told.order_id for told in me.town.journal.told if told.what == "accepted"})
        if not orders:
            continue
        task = me.dice.choice((ship, ship, refund))
        await task(me, me.dice.choice(orders))


async def bring_a_novelty(me: Person) -> None:
    """Take in a product while orders come in."""
    await asyncio.sleep(me.dice.uniform(0, me.town.faults.plan.chaos_s * 0.6))
    body = {"id": NOVELTY, "name": NOVELTY, "price": "35.50", "quantity": 2}
    await me.insist("catalog", "POST", "/products", body, key=NOVELTY)


async def order_an_amount(me: Person, customer: str) -> None:
    """An order without goods, for somebody."""
    me.town.journal.wanted.append(customer)
    body: dict[str, Any] = {"customer_id": customer, "amount": "33.00", "id": f"ref-{customer}"}
    if me.dice.random() < 0.8:
        body["payment_method"] = me.some_card()
    answer = await me.insist("order", "POST", "/orders", body, key=f"amount-{customer}")
    if answer is not None and answer.status in {201, 202}:
        me.town.journal.note("accepted", answer.json["id"], customer)


async def ship(me: Person, order_id: str) -> None:
    """Hand it to a carrier, and perhaps hear that it arrived."""
    found = await me.once("shipping", "GET", f"/shipments?order_id={order_id}")
    shipments: Sequence[Any] = found.json["items"] if found is not None and found.status == 200 else []
    for shipment in shipments:
        path = f"/shipments/{shipment['id']}"
        async with asyncio.TaskGroup() as hands:
            leaving = hands.create_task(me.insist("shipping", "POST", f"{path}/ship", {"carrier": "DHL"}))
            if me.dice.random() < 0.4:
                # Its customer calls at the very moment at which it leaves.
                _ = hands.create_task(_call_off(me, order_id, me.dice.choice((0.0, 0.001, 0.002, 0.005))))
        answer = leaving.result()
        if answer is not None and answer.status == 200:
            me.town.trace.reach("shipped")
            me.town.journal.note("shipped", order_id)
            if me.dice.random() < 0.5:
                await me.insist("shipping", "POST", f"{path}/deliver")


async def _call_off(me: Person, order_id: str, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await cancel_now(me, order_id)


async def mend(me: Person, disks: Mapping[str, Disk]) -> None:
    """See to dead letters, as long as the world lasts: have them tried again, and click twice now and then."""
    while True:
        await asyncio.sleep(me.dice.uniform(1, 6))
        for service in sorted(disks):
            if service != "sandbox" and disks[service].rows(DEAD):
                async with asyncio.TaskGroup() as hands:
                    for _ in range(me.dice.choice((1, 1, 2))):
                        hands.create_task(_replay(me, service))


async def _replay(me: Person, service: str) -> None:
    answer = await me.once(service, "POST", "/dead-letters/replay", {"all": True})
    for result in answer.json["items"] if answer is not None and answer.status == 200 else []:
        me.town.trace.reach(f"dead letter replayed: {result['outcome']}")


async def refund(me: Person, order_id: str) -> None:
    """Give a little back, or all of it."""
    found = await me.once("payment", "GET", f"/payments/order/{order_id}")
    payments: Sequence[Any] = found.json if found is not None and found.status == 200 else []
    for payment in payments:
        path = f"/payments/{payment['id']}/refund"
        key = f"refund-{order_id}-{me.dice.randrange(2)}"
        # The key says which, as it would in a form that is sent twice.
        body = {"amount": "1.00"} if key.endswith("0") else {}
        answer = await me.insist("payment", "POST", path, body, key=key)
        if answer is not None and answer.status == 200:
            me.town.trace.reach("refunded by staff: " + ("a part" if body else "all"))
            me.town.journal.note("refunded", order_id, (key, answer.json["refund"]["id"]))
