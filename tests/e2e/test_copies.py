"""Two copies of everything, and nothing lost: one copy of each service dies in turn, the broker and the database too.

Customers, who repeat until they are answered, see nothing of it but pauses. ORDERWRIGHT_TEST_ORDERS says how many
orders they place on each broker (2000 when it is not set), and ORDERWRIGHT_TEST_SEPARATE=1 puts each service into
processes of its own, which takes longer to start on a small machine.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import broker_url
from tests.databases import fresh_databases
from tests.e2e.customers import PLENTY, SCARCE, Customers
from tests.e2e.disasters import disasters, timed
from tests.e2e.judges import Ledgers, judge_by_auditor, judge_logs, judge_messages, judge_money, judge_orders
from tests.processes import Processes
from tests.shop import Shop, visit
from tools.fleet import SEPARATE, Fleet, running

ORDERS = int(os.environ.get("ORDERWRIGHT_TEST_ORDERS", "2000"))
PEOPLE = 8
IN_PAIRS = (
    ("gateway",),
    ("order", "cart"),
    ("payment", "shipping"),
    ("inventory", "catalog"),
    ("notification", "identity"),
)
GROUPS = SEPARATE if os.environ.get("ORDERWRIGHT_TEST_SEPARATE") else IN_PAIRS
STOCK = {**dict.fromkeys(PLENTY, 3 * ORDERS), SCARCE: ORDERS // 8}
"""Enough for everybody, and of one thing not."""
ALL_ENDED_WITHIN_S = 60.0
SETTINGS = {"ORDERWRIGHT_ORDER_ANSWER_WAIT_S": "2"}


@pytest.fixture(params=["redis", "rabbitmq", "kafka"])
def broker(request: pytest.FixtureRequest) -> str:
    """Where events go."""
    return str(request.param)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """Where all the books are."""
    with fresh_databases("postgres", tmp_path) as url:
        yield url


@pytest.fixture
def fleet(tmp_path: Path, database: str, broker: str) -> Iterator[Fleet]:
    """Two processes for each service and for the gateway."""
    fleet = Fleet(tmp_path, database, broker_url(broker), groups=GROUPS, copies=2, settings=SETTINGS)
    with running(fleet) as started:
        tell(f"{len(started.members)} processes are up")
        yield started


async def test_whatever_dies_every_order_ends_and_the_books_agree(fleet: Fleet, database: str, broker: str) -> None:
    customers = await _trade(fleet, broker)
    async with Ledgers(database) as ledgers:
        await ledgers.until_all_ended(fleet.broker_url, ALL_ENDED_WITHIN_S)
        tell("all orders are at an end")
        await judge_orders(ledgers, customers.journal)
        await judge_money(ledgers)
        await judge_messages(ledgers)
    await judge_by_auditor(database)
    tell("the books agree")
    statuses = await asyncio.to_thread(fleet.stop)
    assert set(statuses.values()) == {0}, f"not all stopped cleanly: {statuses}"
    judge_logs(fleet.folder)
    tell("all have stopped")


async def _trade(fleet: Fleet, broker: str) -> Customers:
    """Customers buy while one disaster follows the other; each finds its own share of the orders under way."""
    await _stock_up(fleet)
    customers = Customers([member.url("gateway") for member in fleet.of("gateway")], seed=ORDERS)
    try:
        await customers.register(PEOPLE)
        planned = disasters(fleet, broker, seed=ORDERS)
        share = -(-ORDERS // len(planned))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(customers.buy())
            for number, disaster in enumerate(planned):
                customers.want(range(number * share, min(ORDERS, (number + 1) * share)))
                while customers.done < number * share + share // 4:
                    await asyncio.sleep(0.01)
                took_s = await timed(disaster)
                tell(f"{disaster.name}, back after {took_s:.1f} s; {customers.done} orders are answered")
            customers.want_no_more()
        tell(f"all are answered: {dict(customers.answers)}; the slowest took {customers.slowest_s:.1f} s")
    finally:
        await customers.close()
    return customers


async def _stock_up(fleet: Fleet) -> None:
    async with visit(Processes(fleet, fleet.load_demo())) as shop:
        for product, quantity in STOCK.items():
            await _state_level(shop, product, quantity)


async def _state_level(shop: Shop, product: str, quantity: int) -> None:
    stated = await shop.call("inventory", "PUT", f"/products/{product}/stock", {"on_hand": quantity}, role="staff")
    assert stated.status_code == 200, stated.text


def tell(what: str) -> None:
    """For whoever watches: `pytest -s` shows it as it happens, and a failure shows all of it."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what}\n")
    sys.stdout.flush()
