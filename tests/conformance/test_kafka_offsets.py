"""Kafka's groups: what is committed, and what a group does when somebody joins it in the middle of somebody's work."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from orderwright.kernel.broker import Broker, Delivery, Subscription
from orderwright.kernel.brokers import open_broker
from tests.brokers import broker_url
from tests.conformance.test_broker import PATIENCE_S, message, numbers, take


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    """A Kafka, with nothing in it under these names."""
    async with open_broker(broker_url("kafka")) as opened:
        yield opened


async def collect(subscription: Subscription, into: list[Delivery]) -> None:
    """Receive and acknowledge until cancelled."""
    while batch := await subscription.receive():
        into.extend(batch)
        await subscription.acknowledge(batch)


async def until(wanted: int, *heaps: Sequence[Delivery]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sum(map(len, heaps)) < wanted:
            await asyncio.sleep(0.05)


async def test_nothing_is_committed_past_what_was_not_acknowledged(broker: Broker) -> None:
    first = await broker.subscribe("a", ["t"])
    await broker.publish([message(n) for n in range(5)])
    deliveries = await take(first, 5)
    await first.acknowledge([deliveries[n] for n in (0, 1, 3, 4)])
    await first.close()
    second = await broker.subscribe("a", ["t"])
    assert numbers(await take(second, 3)) == [2, 3, 4]


async def test_what_was_acknowledged_out_of_turn_counts_once_the_gap_is_closed(broker: Broker) -> None:
    first = await broker.subscribe("a", ["t"])
    await broker.publish([message(n) for n in range(5)])
    deliveries = await take(first, 5)
    await first.acknowledge(deliveries[2:4])
    await first.acknowledge(deliveries[:2])
    await first.acknowledge(deliveries[:4])
    await first.close()
    second = await broker.subscribe("a", ["t"])
    assert numbers(await take(second, 1)) == [4]


async def test_one_who_joins_gets_nothing_that_another_is_still_working_on(broker: Broker) -> None:
    keys = [f"k{n}" for n in range(40)]
    first = await broker.subscribe("a", ["t"], max_batch=100)
    await broker.publish([message(n, keys[n % 40]) for n in range(100)])
    in_hand = await take(first, 100)
    second = await broker.subscribe("a", ["t"])
    theirs: list[Delivery] = []
    collecting = [asyncio.create_task(collect(second, theirs))]
    # Longer than a heartbeat: by now the group wants to share itself out, and waits for what is in hand.
    await asyncio.sleep(5)
    assert theirs == []
    await first.acknowledge(in_hand)
    await broker.publish([message(n, keys[n % 40]) for n in range(100, 300)])
    ours: list[Delivery] = []
    collecting.append(asyncio.create_task(collect(first, ours)))
    await until(200, ours, theirs)
    assert sorted(numbers(ours + theirs)) == list(range(100, 300))
    assert ours
    assert theirs
    for task in collecting:
        task.cancel()
    await asyncio.gather(*collecting, return_exceptions=True)


async def test_one_who_joins_and_leaves_while_another_works_is_gone_soon(broker: Broker) -> None:
    first = await broker.subscribe("a", ["t"])
    await broker.publish([message(1)])
    in_hand = await take(first, 1)
    second = await broker.subscribe("a", ["t"])
    await asyncio.sleep(1)
    await asyncio.wait_for(second.close(), 5)
    await first.acknowledge(in_hand)
    await broker.publish([message(2)])
    assert numbers(await take(first, 1)) == [2]


async def test_an_acknowledgement_that_is_another_subscriptions_is_ignored(broker: Broker) -> None:
    first, other = await broker.subscribe("a", ["t"]), await broker.subscribe("b", ["t"])
    await broker.publish([message(1), message(2)])
    await other.acknowledge(await take(first, 2))
    await first.close()
    again = await broker.subscribe("a", ["t"])
    assert numbers(await take(again, 2)) == [1, 2]


async def test_several_publishes_at_once_keep_the_order_of_a_key(broker: Broker) -> None:
    group = await broker.subscribe("a", ["t"], max_batch=500)
    batches = [[message(n) for n in range(first, first + 50)] for first in range(0, 2000, 50)]
    at_once = broker.capabilities.parallel_publishes
    for first in range(0, len(batches), at_once):
        await asyncio.gather(*(broker.publish(batch) for batch in batches[first : first + at_once]))
    assert numbers(await take(group, 2000)) == list(range(2000))


async def test_a_group_that_comes_late_hears_what_was_said_before_it(broker: Broker) -> None:
    await broker.publish([message(n, f"k{n}") for n in range(30)])
    late = await broker.subscribe("late", ["t"])
    assert sorted(numbers(await take(late, 30))) == list(range(30))
