"""The delivery contract of the broker port, for every broker. Expectations are written by hand."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from orderwright.kernel.broker import Broker, Delivery, Subscription
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError
from orderwright.kernel.messages import MAX_BODY_BYTES, Message
from tests.brokers import BROKERS, SOON, broker_url

PATIENCE_S = 60


@pytest.fixture(params=BROKERS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of broker in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
async def broker(kind: str) -> AsyncIterator[Broker]:
    """Each broker in turn, with nothing in it."""
    async with open_broker(broker_url(kind)) as opened:
        yield opened


def message(number: int, key: str = "k", topic: str = "t", body: bytes | None = None) -> Message:
    said = datetime(2026, 1, 1, tzinfo=UTC)
    return Message(f"m-{number}", "Event", topic, key, "/x", said, str(number).encode() if body is None else body)


async def publish(broker: Broker, *messages: Message) -> "asyncio.Task[None]":
    """Begin to publish; the in-process broker ends only when the consumers have acknowledged."""
    task = asyncio.create_task(broker.publish(messages))
    if broker.capabilities.durable:
        await asyncio.wait_for(task, PATIENCE_S)
    else:
        await asyncio.sleep(0)
    return task


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    """Receive so many."""
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(taken) < count:
            batch = await subscription.receive()
            assert batch, "the subscription was closed"
            taken.extend(batch)
    return taken


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(delivery.body) for delivery in deliveries]


class Worker:
    """Receives and acknowledges until it is stopped, and remembers what it had."""

    def __init__(self, subscription: Subscription, progress: Callable[[], None]) -> None:
        self.subscription = subscription
        self.seen: list[Delivery] = []
        self._progress = progress
        self.task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while batch := await self.subscription.receive():
            self.seen.extend(batch)
            await self.subscription.acknowledge(batch)
            self._progress()

    async def stop(self) -> None:
        """As a consumer stops: no more deliveries, then away."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.subscription.close()


class Crew:
    """Workers of one group, and the wait for what they handle between them."""

    def __init__(self, broker: Broker, max_batch: int = 50) -> None:
        self.workers: list[Worker] = []
        self._broker = broker
        self._max_batch = max_batch
        self._moved = asyncio.Event()

    async def hire(self) -> Worker:
        subscription = await self._broker.subscribe("a", ["t"], max_batch=self._max_batch)
        self.workers.append(Worker(subscription, self._moved.set))
        return self.workers[-1]

    def bodies(self) -> set[int]:
        return {int(delivery.body) for worker in self.workers for delivery in worker.seen}

    async def until(self, wanted: set[int]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not self.bodies() >= wanted:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            missing, backlog = sorted(wanted - self.bodies()), await self._broker.backlog({"a": ["t"]})
            raise AssertionError(f"{len(missing)} never came: {missing}; what waits: {backlog}") from None

    async def dismiss(self) -> None:
        for worker in self.workers:
            await worker.stop()


async def test_every_group_gets_every_message_in_the_order_of_its_key(broker: Broker) -> None:
    groups = [await broker.subscribe(name, ["t"]) for name in ("a", "b")]
    publishing = await publish(broker, *(message(n) for n in range(250)))
    for group in groups:
        deliveries = await take(group, 250)
        assert numbers(deliveries) == list(range(250))
        await group.acknowledge(deliveries)
    await asyncio.wait_for(publishing, PATIENCE_S)


async def test_key_headers_and_body_arrive_as_they_were_sent(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"])
    sent = message(1, key="order-1 ⛄", body=b"\x00\xff{}")
    publishing = await publish(broker, sent)
    [delivery] = await take(group, 1)
    assert Message.from_headers(delivery.topic, delivery.key, delivery.headers, delivery.body) == sent
    await group.acknowledge([delivery])
    await publishing


async def test_several_topics_of_a_group_arrive_each_under_its_name(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t", "orders.created"])
    publishing = await publish(broker, message(1, topic="orders.created"), message(2, topic="t"))
    deliveries = await take(group, 2)
    assert {(d.topic, int(d.body)) for d in deliveries} == {("orders.created", 1), ("t", 2)}
    await group.acknowledge(deliveries)
    await publishing


async def test_two_consumers_of_a_group_share_the_messages(broker: Broker) -> None:
    crew = Crew(broker, max_batch=10)
    await crew.hire()
    await crew.hire()
    by_number = {n: f"k{n % 20}" for n in range(400)}
    publishing = await publish(broker, *(message(n, key) for n, key in by_number.items()))
    await crew.until(set(by_number))
    await crew.dismiss()
    await publishing
    for worker in crew.workers:
        per_key: defaultdict[str, list[int]] = defaultdict(list)
        for delivery in worker.seen:
            per_key[delivery.key].append(int(delivery.body))
        assert all(handled == sorted(handled) for handled in per_key.values())


async def test_one_who_joins_and_one_who_leaves_lose_nothing(broker: Broker) -> None:
    crew = Crew(broker)
    first = await crew.hire()
    sending = [await publish(broker, *(message(n, f"k{n % 20}") for n in range(200)))]
    await crew.hire()
    sending.append(await publish(broker, *(message(n, f"k{n % 20}") for n in range(200, 400))))
    await first.stop()
    sending.append(await publish(broker, *(message(n, f"k{n % 20}") for n in range(400, 600))))
    await crew.until(set(range(600)))
    await crew.dismiss()
    await asyncio.gather(*sending)
    assert crew.bodies() == set(range(600))


async def test_what_was_not_acknowledged_comes_again_in_order(broker: Broker) -> None:
    crashed = await broker.subscribe("a", ["t"], max_batch=3)
    publishing = await publish(broker, *(message(n) for n in range(5)))
    assert numbers(await take(crashed, 3))[:3] == [0, 1, 2]
    await crashed.close()
    survivor = await broker.subscribe("a", ["t"])
    again = await take(survivor, 5)
    assert numbers(again) == [0, 1, 2, 3, 4]
    await survivor.acknowledge(again)
    await publishing


async def test_who_has_taken_everything_knows_that_nothing_waits(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"], max_batch=5)
    publishing = await publish(broker, *(message(n) for n in range(12)))
    left = 12
    while left:
        batch = await take(group, 1)
        await group.acknowledge(batch)
        left -= len(batch)
    await publishing
    assert not group.more_waits


async def test_what_was_acknowledged_does_not_come_again(broker: Broker) -> None:
    first = await broker.subscribe("a", ["t"], max_batch=4)
    publishing = await publish(broker, *(message(n) for n in range(10)))
    handled: list[Delivery] = []
    while len(handled) < 4:
        batch = await take(first, 1)
        await first.acknowledge(batch)
        handled.extend(batch)
    await first.close()
    second = await broker.subscribe("a", ["t"])
    rest = await take(second, 10 - len(handled))
    assert numbers(handled) + numbers(rest) == list(range(10))
    await second.acknowledge(rest)
    await publishing


async def test_a_cancelled_wait_loses_nothing(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"])
    waiting = asyncio.create_task(group.receive())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    publishing = await publish(broker, message(1), message(2))
    deliveries = await take(group, 2)
    assert numbers(deliveries) == [1, 2]
    await group.acknowledge(deliveries)
    await publishing


async def test_a_large_batch_and_large_bodies_arrive_whole(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"], max_batch=200)
    sent = [message(n, f"k{n % 7}", body=str(n).encode().rjust(8000 if n % 100 == 0 else 100)) for n in range(5000)]
    publishing = await publish(broker, *sent)
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(taken) < len(sent):
            batch = await group.receive()
            assert len(batch) <= 200
            await group.acknowledge(batch)
            taken.extend(batch)
    assert sorted(d.body for d in taken) == sorted(m.body for m in sent)
    await publishing


async def test_the_largest_events_arrive_whole_one_after_the_other(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"])
    sent = [message(n, body=str(n).encode().rjust(MAX_BODY_BYTES)) for n in range(5)]
    publishing = await publish(broker, *sent)
    taken = await take(group, len(sent))
    assert [d.body for d in taken] == [m.body for m in sent]
    await group.acknowledge(taken)
    await publishing


async def test_a_topic_that_nobody_hears_is_published_all_the_same(broker: Broker) -> None:
    await asyncio.wait_for(broker.publish([message(1, topic="unheard")]), PATIENCE_S)
    assert await broker.ping() is None  # type: ignore[func-returns-value]


async def test_a_closed_subscription_receives_nothing(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"])
    waiting = asyncio.create_task(group.receive())
    await asyncio.sleep(0)
    await group.close()
    assert list(await asyncio.wait_for(waiting, PATIENCE_S)) == []


async def test_a_declared_group_misses_nothing_while_nobody_is_there(broker: Broker) -> None:
    if not broker.capabilities.durable:
        pytest.skip("what it does not deliver stays in the outbox")
    await broker.declare({"a": ["t"], "b": ["t", "u"]})
    await broker.publish([message(1), message(2)])
    for name in ("a", "b"):
        group = await broker.subscribe(name, ["t"])
        deliveries = await take(group, 2)
        assert numbers(deliveries) == [1, 2]
        await group.acknowledge(deliveries)


CRASHING = """
import asyncio, sys
from orderwright.kernel.brokers import open_broker

async def main() -> None:
    broker = open_broker(sys.argv[1])
    group = await broker.subscribe("a", ["t"], max_batch=3)
    taken = 0
    while taken < 3:
        taken += len(await group.receive())
    print("taken", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_a_killed_process_had_not_acknowledged_comes_again(kind: str) -> None:
    if kind == "memory":
        pytest.skip("it lives in one process, and dies with it")
    url = broker_url(kind, **SOON.get(kind, {}))
    async with open_broker(url) as broker:
        await broker.declare({"a": ["t"]})
        await broker.publish([message(n) for n in range(5)])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CRASHING, url, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"taken\n"
        survivor = await broker.subscribe("a", ["t"])
        process.kill()
        await process.wait()
        again = await take(survivor, 5)
        assert sorted(numbers(again)) == [0, 1, 2, 3, 4]
        await survivor.acknowledge(again)


async def test_publishing_is_not_done_before_the_messages_are_safe() -> None:
    async with open_broker("memory://") as broker:
        group = await broker.subscribe("a", ["t"])
        publishing = await publish(broker, message(1))
        deliveries = await take(group, 1)
        assert not publishing.done()
        await group.acknowledge(deliveries)
        await asyncio.wait_for(publishing, 5)


async def test_a_broker_that_closes_tells_those_who_wait() -> None:
    broker = open_broker("memory://")
    await broker.subscribe("a", ["t"])
    publishing = await publish(broker, message(1))
    await broker.close()
    with pytest.raises(BrokerUnavailable):
        await publishing
    with pytest.raises(BrokerUnavailable):
        await broker.ping()


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        open_broker("carrier-pigeon://loft")
