"""The delivery contract of the broker port, for every broker. Expectations are written by hand."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from orderwright.kernel.broker import Broker, Delivery, Subscription
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError
from orderwright.kernel.messages import Message

URLS = ["memory://"]


@pytest.fixture(params=URLS)
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """Each broker in turn."""
    async with open_broker(request.param) as opened:
        yield opened


def message(number: int, key: str = "k", topic: str = "t") -> Message:
    return Message(f"m-{number}", "Event", topic, key, "/x", datetime(2026, 1, 1, tzinfo=UTC), f"{number}".encode())


async def publish(broker: Broker, *messages: Message) -> "asyncio.Task[None]":
    """Begin to publish; what has no end yet ends when the consumers have acknowledged."""
    task = asyncio.create_task(broker.publish(messages))
    await asyncio.sleep(0)
    return task


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    """Receive so many."""
    taken: list[Delivery] = []
    async with asyncio.timeout(5):
        while len(taken) < count:
            taken.extend(await subscription.receive())
    return taken


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(delivery.body) for delivery in deliveries]


async def test_every_group_gets_every_message_in_the_order_of_its_key(broker: Broker) -> None:
    groups = [await broker.subscribe(name, ["t"]) for name in ("a", "b")]
    publishing = await publish(broker, *(message(n) for n in range(250)))
    for group in groups:
        deliveries = await take(group, 250)
        assert numbers(deliveries) == list(range(250))
        await group.acknowledge(deliveries)
    await asyncio.wait_for(publishing, 5)


async def test_key_headers_and_body_arrive_as_they_were_sent(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"])
    sent = message(1, key="order-1")
    publishing = await publish(broker, sent)
    [delivery] = await take(group, 1)
    assert Message.from_headers(delivery.topic, delivery.key, delivery.headers, delivery.body) == Message(
        sent.id, sent.name, "t", "order-1", sent.source, sent.time, sent.body
    )
    await group.acknowledge([delivery])
    await publishing


async def test_two_consumers_of_a_group_share_the_messages(broker: Broker) -> None:
    first, second = [await broker.subscribe("a", ["t"], max_batch=10) for _ in range(2)]
    publishing = await publish(broker, *(message(n) for n in range(20)))
    shares = [await take(first, 10), await take(second, 10)]
    assert sorted(numbers(shares[0]) + numbers(shares[1])) == list(range(20))
    for consumer, share in zip((first, second), shares, strict=True):
        await consumer.acknowledge(share)
    await publishing


async def test_what_was_not_acknowledged_comes_again_in_order(broker: Broker) -> None:
    crashed = await broker.subscribe("a", ["t"], max_batch=3)
    publishing = await publish(broker, *(message(n) for n in range(5)))
    assert numbers(await take(crashed, 3)) == [0, 1, 2]
    await crashed.close()
    survivor = await broker.subscribe("a", ["t"])
    again = await take(survivor, 5)
    assert numbers(again) == [0, 1, 2, 3, 4]
    await survivor.acknowledge(again)
    await publishing


async def test_a_topic_that_nobody_hears_is_published_all_the_same(broker: Broker) -> None:
    await asyncio.wait_for(broker.publish([message(1, topic="unheard")]), 5)
    assert await broker.ping() is None  # type: ignore[func-returns-value]


async def test_a_closed_subscription_receives_nothing(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"])
    waiting = asyncio.create_task(group.receive())
    await asyncio.sleep(0)
    await group.close()
    assert list(await asyncio.wait_for(waiting, 5)) == []


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
