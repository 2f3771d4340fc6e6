"""What nobody waits for goes along with what somebody does, while much arrives. On the in-process broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from orderwright.contracts.catalog import ProductDeleted
from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel import consumer
from orderwright.kernel.brokers.memory import MemoryBroker
from orderwright.kernel.consumer import MAX_BATCH, Consumer
from orderwright.kernel.handling import Handler
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.messages import Event, Received, encode
from orderwright.kernel.testing import ServiceBench
from orderwright.kernel.unit import UnitOfWork
from tests.kernel.machines import until

MIGRATIONS = Path("src/orderwright/services/catalog/migrations")
SOON_S = 10.0


class Listener:
    """A consumer for whose deletions somebody waits, and what it heard together. Its clock stands still."""

    def __init__(self, bench: ServiceBench, broker: MemoryBroker) -> None:
        self.batches: list[list[str]] = []
        consumes: dict[type[Event], Handler] = {StockUpdated: self._note, ProductDeleted: self._note}
        self.consumer = Consumer("catalog", consumes, broker, bench.runtime.units, urgent=[ProductDeleted])
        self.running = asyncio.create_task(self.consumer.run_forever())
        self._bench = bench
        self._broker = broker
        self._publishing: set[asyncio.Task[None]] = set()

    def _note(self, events: Sequence[Received[Any]], _: UnitOfWork) -> None:
        self.batches.append([received.event.key for received in events])

    async def told(self, *events: Event) -> None:
        """Publish these, and wait until the consumer has taken them."""
        now, ids = self._bench.clock.now(), self._bench.ids
        messages = [encode(event, id=ids.new(), source="/x", time=now) for event in events]
        await until(lambda: "catalog" in self._broker._groups)
        self._publishing.add(asyncio.create_task(self._broker.publish(messages)))
        await asyncio.sleep(0)
        await until(lambda: not self._broker._groups["catalog"].queue)

    async def told_much(self) -> None:
        await self.told(*levels(MAX_BATCH))
        await until(lambda: len(self.batches) == 1)
        self.batches.clear()

    async def end(self) -> None:
        self.consumer.stop()
        await asyncio.wait_for(self.running, SOON_S)


def levels(count: int) -> list[StockUpdated]:
    return [StockUpdated(product_id=f"p-{n}", quantity=1) for n in range(count)]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ServiceBench]:
    def assemble(kit: Kit) -> Service:
        return Service("catalog", 0, "", MIGRATIONS, APIRouter(), kit)

    async with ServiceBench.open(assemble, "catalog", tmp_path) as opened:
        yield opened


@pytest.fixture
async def listener(bench: ServiceBench) -> AsyncIterator[Listener]:
    async with MemoryBroker() as broker:
        listening = Listener(bench, broker)
        yield listening
        await listening.end()


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody waits for waits for ever."""
    monkeypatch.setattr(consumer, "OTHERS_WAIT_S", 1000.0)


@pytest.mark.usefixtures("endless")
async def test_where_much_arrives_what_nobody_waits_for_goes_along_with_what_somebody_does(listener: Listener) -> None:
    await listener.told_much()
    await listener.told(*levels(2))
    await listener.told(ProductDeleted(product_id="a"))
    await until(lambda: len(listener.batches) > 0)
    assert listener.batches == [["p-0", "p-1", "a"]]


async def test_without_anything_that_somebody_waits_for_it_is_handled_after_a_while(listener: Listener) -> None:
    await listener.told_much()
    await listener.told(*levels(2))
    await until(lambda: len(listener.batches) > 0)
    assert listener.batches == [["p-0", "p-1"]]


@pytest.mark.usefixtures("endless")
async def test_where_little_arrives_nothing_waits(listener: Listener) -> None:
    await listener.told(*levels(2))
    await until(lambda: len(listener.batches) > 0)
    assert listener.batches == [["p-0", "p-1"]]


@pytest.mark.usefixtures("endless")
async def test_a_batch_that_is_full_waits_for_nothing(listener: Listener) -> None:
    await listener.told_much()
    await listener.told(*levels(MAX_BATCH))
    await until(lambda: len(listener.batches) > 0)
    assert [len(batch) for batch in listener.batches] == [MAX_BATCH]


@pytest.mark.usefixtures("endless")
async def test_what_waits_when_the_consumer_stops_comes_again(bench: ServiceBench) -> None:
    async with MemoryBroker() as broker:
        first = Listener(bench, broker)
        await first.told_much()
        await first.told(*levels(2))
        await first.end()
        second = Listener(bench, broker)
        await until(lambda: len(second.batches) > 0)
        await second.end()
    assert (first.batches, second.batches) == ([], [["p-0", "p-1"]])
