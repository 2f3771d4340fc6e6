"""The process is killed without warning while 500 orders run, and started again; then everything must add up.

What the clients were told is written down by them. The services' own databases and the sandbox provider's books are
read at the end, and judged against it.
"""

import asyncio
import json
import os
import random
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from orderwright.services import PORTS
from tests.shop import GOOD_CARD
from tools.backends.server import free_port

ORDERS = 500
AT_ONCE = 60
KILLS = 3
CARDS = ("4111111111111111", "4111111111111111", "4111111111111111", "4000000000000002", "4000000000000010")
PRODUCTS = ("product-123", "product-456", "kitchen-001", "kitchen-002")
ENDS = {"completed", "cancelled"}


@dataclass
class Journal:
    """What clients were told."""

    accepted: set[str] = field(default_factory=set)
    refused: int = 0
    done: int = 0


class Victim:
    """The platform in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in PORTS}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        environment = {
            **os.environ,
            "ORDERWRIGHT_DATA_DIR": str(self.folder),
            "ORDERWRIGHT_LOG_LEVEL": "error",
            "ORDERWRIGHT_ORDER_PAYMENT_TIMEOUT_S": "20",
            **{f"ORDERWRIGHT_{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
        }
        command = [sys.executable, "-m", "orderwright.cli.main", "up", "--demo"]
        output = (self.folder / "output.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=output)
        output.close()

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        await self.process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}/api/v1"


async def test_500_orders_survive_kills_at_any_moment(tmp_path: Path) -> None:
    victim, journal, dice = Victim(tmp_path), Journal(), random.Random(500)
    await victim.start()
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
        try:
            token = await _token(client, victim)
            wanted = iter(range(ORDERS))
            buyers = [asyncio.create_task(_buy(client, victim, token, wanted, journal, dice)) for _ in range(AT_ONCE)]
            for kill in range(1, KILLS + 1):
                while journal.done < ORDERS * kill // (KILLS + 1):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(dice.random() * 0.05)
                await victim.kill()
                await victim.start()
            await asyncio.gather(*buyers)
            await _until_all_ended(tmp_path)
        finally:
            await victim.stop()
    assert len(journal.accepted) + journal.refused == ORDERS
    _judge_orders(tmp_path, journal)
    _judge_money(tmp_path)
    _judge_stock(tmp_path)
    _judge_messages(tmp_path)


async def _buy(
    client: httpx2.AsyncClient, victim: Victim, token: str, wanted: Any, journal: Journal, dice: random.Random
) -> None:
    for number in wanted:
        lines = [{"product_id": dice.choice(PRODUCTS), "quantity": dice.randint(1, 2)}]
        body = {"items": lines, "payment_method": {**GOOD_CARD, "card_number": dice.choice(CARDS)}}
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"order-{number}"}
        while True:
            try:
                answer = await client.post(f"{victim.url}/orders", json=body, headers=headers)
            except httpx2.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code in {201, 202}:
                journal.accepted.add(answer.json()["id"])
            elif answer.status_code == 400:
                journal.refused += 1
            else:
                assert answer.status_code in {409, 503}, answer.text
                await asyncio.sleep(0.2)
                continue
            journal.done += 1
            break


async def _token(client: httpx2.AsyncClient, victim: Victim) -> str:
    for _ in range(200):
        try:
            login = json.loads((victim.folder / "demo-logins.json").read_text())["staff"]
            answer = await client.post(f"{victim.url}/login", json=login)
            stocked = await client.get(f"{victim.url}/products/kitchen-002/stock")
            if answer.status_code == stocked.status_code == 200:
                return str(answer.json()["access_token"])
        except (httpx2.TransportError, FileNotFoundError):
            pass
        await asyncio.sleep(0.1)
    raise AssertionError((victim.folder / "output.log").read_text())


async def _until_all_ended(folder: Path) -> None:
    undecided = "SELECT COUNT(*) FROM order_sagas WHERE status IN ('running', 'compensating')"
    unpaid_back = "SELECT COUNT(*) FROM refunds WHERE status = 'pending'"
    untold = "SELECT COUNT(*) FROM outbox"
    async with asyncio.timeout(60):
        while any(
            _rows(folder, service, query) != [(0,)]
            for service, query in (
                ("order", undecided),
                ("payment", unpaid_back),
                ("order", untold),
                ("payment", untold),
            )
        ):
            await asyncio.sleep(0.2)
        # Shipping and notification hear of an order's end last.
        completed = "SELECT COUNT(*) FROM orders WHERE status = 'completed'"
        confirmed = "SELECT COUNT(*) FROM notifications WHERE type = 'order_confirmation'"
        while _rows(folder, "notification", confirmed) < _rows(folder, "order", completed):
            await asyncio.sleep(0.2)


def _rows(folder: Path, service: str, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / f"{service}.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def _judge_orders(folder: Path, journal: Journal) -> None:
    orders = dict(_rows(folder, "order", "SELECT id, status FROM orders"))
    assert journal.accepted <= set(orders)
    assert {orders[order_id] for order_id in journal.accepted} <= ENDS
    assert set(orders.values()) <= ENDS, "an order that nobody was told of has not ended"
    assert len(orders) == ORDERS, "a repeated request placed a second order"


def _judge_money(folder: Path) -> None:
    orders = dict(_rows(folder, "order", "SELECT id, status FROM orders"))
    ours = _rows(folder, "payment", "SELECT id, order_id, captured_minor, refunded_minor FROM payments")
    charged = dict(_rows(folder, "sandbox", "SELECT key, amount_minor FROM charges WHERE outcome = 'captured'"))
    back: dict[str, int] = {}
    for key, amount in _rows(folder, "sandbox", "SELECT charge_key, amount_minor FROM refunds"):
        back[key] = back.get(key, 0) + amount
    assert {payment for payment, _, captured, _ in ours if captured} == set(charged)
    for payment, order_id, captured, refunded in ours:
        assert captured == charged.get(payment, 0), f"our books and the provider's differ for {payment}"
        assert refunded == back.get(payment, 0)
        kept = captured - refunded
        assert (kept > 0) == (orders[order_id] == "completed"), (
            f"order {order_id} is {orders[order_id]}, {kept} are kept"
        )


def _judge_stock(folder: Path) -> None:
    levels = "SELECT product_id, on_hand, reserved, received, sold, returned FROM stock"
    lines = (
        "SELECT l.product_id, SUM(l.quantity) FROM reservation_lines l JOIN reservations r ON r.id = l.reservation_id "
        "WHERE r.status = '{}' GROUP BY l.product_id"
    )
    deducted = dict(_rows(folder, "inventory", lines.format("deducted")))
    reserved = dict(_rows(folder, "inventory", lines.format("reserved")))
    for product, on_hand, held, received, sold, returned in _rows(folder, "inventory", levels):
        assert on_hand == received - sold + returned
        assert held == reserved.get(product, 0) == 0
        assert sold - returned == deducted.get(product, 0)
    completed = "SELECT i.product_id, SUM(i.quantity) FROM order_items i JOIN orders o ON o.id = i.order_id "
    shipped = dict(_rows(folder, "order", completed + "WHERE o.status = 'completed' GROUP BY i.product_id"))
    assert deducted == shipped


def _judge_messages(folder: Path) -> None:
    for service in ("order", "payment", "inventory", "shipping", "notification", "catalog", "cart"):
        assert _rows(folder, service, "SELECT COUNT(*) FROM kept_messages") == [(0,)], service
    confirmed = "SELECT order_id FROM notifications WHERE type = 'order_confirmation'"
    completed = _rows(folder, "order", "SELECT id FROM orders WHERE status = 'completed'")
    assert sorted(_rows(folder, "notification", confirmed)) == sorted(completed)
