"""`orderwright rebuild-orders`: every order becomes what its history says, and stays so beside a running platform."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from orderwright.cli.operate import rebuild_all_orders
from orderwright.contracts.catalog import ProductCreated
from orderwright.contracts.inventory import StockDeducted, StockReserved
from orderwright.contracts.payments import PaymentCompleted
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.testing import ServiceBench
from orderwright.services.order.manifest import assemble
from orderwright.services.order.tables import orders

TRUE, FALSE = Decimal("20.00"), Decimal("99.00")


class Platform(FrozenClock):
    """While the command waits, the platform writes down what it remembers of an order."""

    def __init__(self, bench: ServiceBench, moves: int) -> None:
        super().__init__()
        self.bench = bench
        self.moves = moves
        self.waits = 0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.waits += 1
        if self.waits <= self.moves:
            await falsify(self.bench)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceBench]:
    monkeypatch.setenv("ORDERWRIGHT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "0")
    async with ServiceBench.open(assemble, "order", tmp_path, peers={"payment": FastAPI()}) as opened:
        await opened.hear(ProductCreated(product_id="a", name="A", price=Decimal("10.00"), quantity=5))
        yield opened


async def placed(bench: ServiceBench) -> str:
    answer = await bench.request("POST", "/orders", {"items": [{"product_id": "a", "quantity": 2}]})
    return str(answer.json["id"])


async def falsify(bench: ServiceBench) -> None:
    await bench.runtime.database.write(
        lambda connection: connection.execute(sa.update(orders), {"total_amount": FALSE})
    )


async def total(bench: ServiceBench) -> Decimal:
    query = sa.select(orders.c.total_amount)
    return Decimal(await bench.runtime.database.read(lambda connection: connection.execute(query).scalar_one()))


async def test_an_order_that_has_ended_is_put_right_at_once(bench: ServiceBench) -> None:
    order_id = await placed(bench)
    await bench.hear(
        StockReserved(order_id=order_id, items=[]),
        PaymentCompleted(payment_id="p", order_id=order_id),
        StockDeducted(order_id=order_id, items=[]),
    )
    await falsify(bench)
    clock = Platform(bench, moves=0)
    await rebuild_all_orders(clock)
    assert (await total(bench), clock.waits) == (TRUE, 0)


@pytest.mark.parametrize(
    ("wrong", "moves", "waits"),
    [(False, 0, 0), (True, 0, 1), (True, 2, 3)],
    ids=["never wrong", "wrong", "wrong, and written so twice more"],
)
async def test_an_order_on_its_way_is_put_right_until_nobody_remembers_it_wrong(
    bench: ServiceBench, wrong: bool, moves: int, waits: int
) -> None:
    await placed(bench)
    if wrong:
        await falsify(bench)
    clock = Platform(bench, moves)
    await rebuild_all_orders(clock)
    assert (await total(bench), clock.waits) == (TRUE, waits)
