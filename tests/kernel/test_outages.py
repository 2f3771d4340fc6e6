"""The relay and the consumer while the broker is away, and while they stop. On a real SQLite file."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel import outbox
from orderwright.kernel.brokers.memory import MemoryBroker
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.consumer import Consumer
from orderwright.kernel.database import Database, open_database
from orderwright.kernel.errors import BrokerUnavailable
from orderwright.kernel.feed import Feed
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.messages import Message, Received, encode
from orderwright.kernel.relay import Relay
from orderwright.kernel.tables import kernel_metadata
from orderwright.kernel.tables import outbox as outbox_table
from orderwright.kernel.unit import UnitOfWork, Units
from tests.kernel.test_consumer_and_relay import level

SAID_AT = datetime(2026, 1, 1, tzinfo=UTC)


class FarBroker(MemoryBroker):
    """The in-process broker at the other end of a wire that may be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.declared: list[dict[str, list[str]]] = []
        self.published: list[str] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self._check()
        await super().publish(messages)
        self.published.extend(message.id for message in messages)

    async def declare(self, audience: Mapping[str, Sequence[str]]) -> None:
        self._check()
        self.declared.append({group: list(topics) for group, topics in audience.items()})

    async def ping(self) -> None:
        self._check()

    def _check(self) -> None:
        if self.away:
            raise BrokerUnavailable("the wire is cut")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path}", "order")
    await opened.create()
    await opened.write(kernel_metadata.create_all)
    yield opened
    await opened.close()


def message(number: int) -> Message:
    return Message(f"m-{number}", "Event", "t", "k", "/x", SAID_AT, b"{}")


async def commit(database: Database, relay: Relay, *messages: Message) -> None:
    """What a unit of work does with what was said in it."""
    await database.write(lambda connection: outbox.append(connection, messages, leased=relay.takes()))
    relay.hand_over(messages)


async def waiting(database: Database) -> int:
    return (await database.read(outbox.waiting))[0]


async def assert_emptied(database: Database, clock: FrozenClock) -> None:
    """What was sent is deleted by a thread of the database's, in its own time."""
    turns = 0
    while await waiting(database) and turns < 100:
        turns += 1
        await settle(clock)
    assert await waiting(database) == 0


async def running(relay: Relay, clock: FrozenClock) -> "asyncio.Task[None]":
    task = asyncio.create_task(relay.run_forever())
    await settle(clock)
    return task


async def settle(clock: FrozenClock, turns: int = 30) -> None:
    """Let everything happen that can, while time goes on."""
    for _ in range(turns):
        clock.advance(0.5)
        await asyncio.sleep(0.002)


async def test_what_is_said_while_the_broker_is_away_is_sent_in_order_when_it_is_back(database: Database) -> None:
    clock, broker = FrozenClock(), FarBroker()
    relay = Relay("order", database, broker, clock)
    task = await running(relay, clock)
    broker.away = True
    await commit(database, relay, message(1))
    await settle(clock)
    assert relay.problem == "the wire is cut"
    assert not relay.takes()
    await commit(database, relay, message(2), message(3))
    until = sa.select(outbox_table.c.lease_until).where(outbox_table.c.id != "m-1")
    leases = await database.read(lambda connection: set(connection.execute(until).scalars()))
    assert leases == {SAID_AT}, "a row that nobody can send is leased to somebody"
    broker.away = False
    await settle(clock)
    assert broker.published == ["m-1", "m-2", "m-3"]
    assert relay.takes()
    await assert_emptied(database, clock)
    task.cancel()


async def test_nothing_is_sent_before_those_who_hear_it_are_declared(database: Database) -> None:
    clock, broker = FrozenClock(), FarBroker()
    broker.away = True

    async def declare() -> None:
        await broker.declare({"order": ["t"]})

    relay = Relay("order", database, broker, clock, declare=declare)
    task = await running(relay, clock)
    assert relay.problem == "the wire is cut"
    await commit(database, relay, message(1))
    broker.away = False
    await settle(clock)
    assert (broker.declared, broker.published) == ([{"order": ["t"]}], ["m-1"])
    task.cancel()


async def test_a_process_that_does_not_sweep_leaves_the_backlog_to_one_that_does(database: Database) -> None:
    clock, broker = FrozenClock(), FarBroker()
    fast, sweeper = (Relay("order", database, broker, clock, sweeps=sweeps) for sweeps in (False, True))
    task = await running(fast, clock)
    broker.away = True
    await commit(database, fast, message(1))
    await settle(clock)
    broker.away = False
    await settle(clock)
    assert (fast.problem, await waiting(database), broker.published) == (None, 1, [])
    await sweeper.sweep()
    assert broker.published == ["m-1"]
    task.cancel()


async def test_a_consumer_that_stops_finishes_and_acknowledges_what_it_has_in_hand(database: Database) -> None:

    clock, broker = FrozenClock(), MemoryBroker()
    heard: list[str] = []
    units = Units("order", database, clock, SeededIds(0), Feed())

    def handle(events: Sequence[Received[StockUpdated]], uow: UnitOfWork) -> None:
        heard.extend(received.event.key for received in events)
        consumer.stop()

    consumer = Consumer("order", {StockUpdated: handle}, broker, units)
    await consumer.subscribe()
    task = asyncio.create_task(consumer.run_forever())
    first, second = (encode(level(name), id=name, source="/x", time=clock.now()) for name in "ab")
    await asyncio.wait_for(broker.publish([first]), 5)
    await asyncio.wait_for(task, 5)
    left = asyncio.create_task(broker.publish([second]))
    survivor = await broker.subscribe("order", [StockUpdated.topic])
    [delivery] = await asyncio.wait_for(survivor.receive(), 5)
    assert (heard, delivery.key) == (["a"], "b")
    left.cancel()


async def test_a_consumer_that_waits_for_messages_stops_at_once(database: Database) -> None:
    units = Units("order", database, FrozenClock(), SeededIds(0), Feed())
    consumer = Consumer("order", {StockUpdated: lambda events, uow: None}, MemoryBroker(), units)
    task = asyncio.create_task(consumer.run_forever())
    await asyncio.sleep(0)
    consumer.stop()
    await asyncio.wait_for(task, 5)
    assert task.done()
