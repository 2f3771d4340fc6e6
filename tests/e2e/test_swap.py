"""A shop moves from one broker to another while customers order: the steps of docs/how-to/swap-the-broker.md.

Every service group is a process on PostgreSQL. Nobody stops ordering; all orders end once, and the books agree.
"""

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import asyncpg
import httpx2
import pytest

from orderwright.audit.auditor import Auditor
from orderwright.audit.books import SANDBOX
from orderwright.audit.settings import AuditSettings
from orderwright.kernel.clock import SystemClock
from tests.brokers import broker_url
from tests.databases import fresh_databases
from tests.processes import Processes
from tests.shop import DECLINED_CARD, GOOD_CARD, Shop, until
from tools.fleet import Fleet, running

GROUPS = (
    ("gateway", "identity"),
    ("order",),
    ("payment", "inventory"),
    ("catalog", "cart"),
    ("shipping", "notification"),
)
"""Few processes for a small machine. Who hears whom is in another one."""
MOVES = (("redis", "kafka"), ("kafka", "rabbitmq"), ("rabbitmq", "redis"))
BUYERS = 3
AFTERWARDS = 10
"""So many more orders are placed when all is done."""
SETTLES_S = 120.0
SETTINGS = {
    "ORDERWRIGHT_ORDER_ANSWER_WAIT_S": "1",
    "ORDERWRIGHT_AUDIT_GRACE_S": "2",
    "ORDERWRIGHT_AUDIT_SETTLE_S": "2",
}


class Customers:
    """They order all the time; who gets no answer asks again with the same key."""

    def __init__(self, shop: Shop) -> None:
        self.placed: dict[str, str] = {}
        """The order of each key."""
        self.closing = False
        self._shop = shop
        self._dice = random.Random(11)
        self._buying = [asyncio.create_task(self._buy(f"{number}")) for number in range(BUYERS)]

    async def have_placed(self, more: int) -> None:
        """Wait for so many more orders."""
        wanted = len(self.placed) + more
        async with asyncio.timeout(SETTLES_S):
            while len(self.placed) < wanted:
                assert not any(task.done() for task in self._buying), await asyncio.gather(*self._buying)
                await asyncio.sleep(0.05)

    async def go_home(self) -> None:
        """Finish what was begun, and order no more."""
        self.closing = True
        await asyncio.gather(*self._buying)

    async def _buy(self, who: str) -> None:
        number = 0
        while not self.closing:
            number += 1
            lines = [{"product_id": self._dice.choice(("product-123", "product-456")), "quantity": 1}]
            card = DECLINED_CARD if number % 5 == 0 else GOOD_CARD
            key = f"{who}-{number}"
            self.placed[key] = await self._until_accepted(key, {"items": lines, "payment_method": card})
            # The goods have to last for all of it.
            await asyncio.sleep(0.5)

    async def _until_accepted(self, key: str, body: dict[str, Any]) -> str:
        while True:
            try:
                answer = await self._shop.call(
                    "gateway", "POST", "/api/v1/orders", body, headers={"Idempotency-Key": key}
                )
            except httpx2.TransportError:
                answer = None
            if answer is not None and answer.status_code in {201, 202}:
                return str(answer.json()["id"])
            # A service, or the gateway, is just being started again.
            assert answer is None or answer.status_code in {409, 503}, answer.text
            await asyncio.sleep(0.2)


@pytest.fixture
def move(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Fleet, str, str]]:
    """The platform on PostgreSQL and one broker, that broker, and the one that it is to be on."""
    old, new = (broker_url(kind) for kind in request.param)
    with fresh_databases("postgres", tmp_path) as database:
        fleet = Fleet(tmp_path, database, old, groups=GROUPS, settings=SETTINGS)
        with running(fleet):
            yield fleet, old, new


async def orderwright(fleet: Fleet, *words: str, broker: str) -> tuple[int, str]:
    """What an operator's command answers: its exit status, and what it printed."""
    environment = {**os.environ, **fleet.environment, "ORDERWRIGHT_BROKER_URL": broker}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orderwright.cli.main", *words),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), SETTLES_S)
    assert process.returncode is not None
    return process.returncode, printed.decode()


@pytest.mark.parametrize("move", MOVES, indirect=True, ids="-".join)
async def test_a_shop_changes_its_broker_while_customers_order(move: tuple[Fleet, str, str]) -> None:
    fleet, old, new = move
    shop = Shop(Processes(fleet, await asyncio.to_thread(fleet.load_demo)))
    try:
        await until(lambda: _has_goods(shop), "the inventory has the demo's goods")
        customers = Customers(shop)
        await customers.have_placed(AFTERWARDS)
        # Who is away at that time has something waiting at the old broker for certain.
        fleet.of("notification")[0].kill()
        await customers.have_placed(AFTERWARDS)
        await _follow_the_page(fleet, customers, old, new)
        await customers.go_home()
        await _all_agrees(fleet)
        status, printed = await orderwright(fleet, "reconcile", broker=new)
        assert (status, printed.splitlines()[-1]) == (0, "The books agree."), printed
        await _each_ended_once(fleet, customers)
    finally:
        await shop.close()
    assert set(fleet.stop().values()) == {0}


async def _follow_the_page(fleet: Fleet, customers: Customers, old: str, new: str) -> None:
    # 1. The new one answers and is empty.
    assert await orderwright(fleet, "broker", "status", broker=new) == (0, ANY)
    # 2. Every process is started again with the new URL.
    for member in fleet.members:
        assert not member.running or await asyncio.to_thread(member.stop) == 0, member.tail()
        member.start({"ORDERWRIGHT_BROKER_URL": new})
        await asyncio.to_thread(member.until_ready)
    status, printed = await orderwright(fleet, "broker", "status", broker=old)
    assert status == 1, f"nothing was left behind, so nothing is tried here: {printed}"
    # 3. The old one is emptied.
    status, printed = await orderwright(fleet, "broker", "drain", "--timeout", "100", broker=old)
    assert (status, printed.splitlines()[-1]) == (0, "Nothing is left there."), printed
    # 4. It stays empty, and in the end the books agree.
    await customers.have_placed(AFTERWARDS)
    assert await orderwright(fleet, "broker", "status", broker=old) == (0, ANY)


async def _has_goods(shop: Shop) -> bool:
    answer = await shop.call("inventory", "GET", "/products/product-456/stock", role=None)
    return answer.status_code == 200


async def _all_agrees(fleet: Fleet) -> None:
    url = fleet.environment["ORDERWRIGHT_DATABASE_URL"]
    auditor = Auditor(url, AuditSettings(grace_s=0, settle_s=0), SystemClock(), provider=SANDBOX)
    async with asyncio.timeout(SETTLES_S):
        # An audit costs more than everything else here, so it begins when there is something to judge.
        while await _open(fleet):
            await asyncio.sleep(0.5)
        while not (report := await auditor.run()).clean or report.under_way:
            await asyncio.sleep(2)


async def _open(fleet: Fleet) -> int:
    [[count]] = await _rows(
        fleet, "order", "SELECT count(*) FROM orders WHERE status NOT IN ('completed', 'cancelled')"
    )
    return int(count)


async def _each_ended_once(fleet: Fleet, customers: Customers) -> None:
    orders = {str(row[0]): row[1] for row in await _rows(fleet, "order", "SELECT id, status FROM orders")}
    assert sorted(orders) == sorted(customers.placed.values()), "each key is one order, and there are no others"
    reasons = await _rows(fleet, "order", "SELECT DISTINCT cancel_reason FROM orders WHERE status = 'cancelled'")
    assert [row[0] for row in reasons] == ["payment_failed"], "no order was given up because of the swap"
    told = await _rows(fleet, "notification", "SELECT order_id FROM notifications WHERE type = 'order_confirmation'")
    completed = [order_id for order_id, status in orders.items() if status == "completed"]
    assert sorted(str(row[0]) for row in told) == sorted(completed)
    for service in ("order", "payment", "inventory", "shipping", "notification", "catalog", "cart"):
        kept = await _rows(fleet, service, "SELECT topic, state, error FROM kept_messages WHERE state = 'dead'")
        assert kept == [], f"{service} gave up messages"


async def _rows(fleet: Fleet, service: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(f"{fleet.environment['ORDERWRIGHT_DATABASE_URL']}_{service}")
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()
