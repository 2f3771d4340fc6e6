"""What a broker tells of what each group has still to handle, for every broker. Expectations are written by hand."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pika.exceptions import ChannelClosedByBroker

from orderwright.kernel.broker import Backlog, Broker
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.errors import BrokerUnavailable
from tests.brokers import BROKERS, broker_url
from tests.conformance.test_broker import PATIENCE_S, message, publish, take
from tests.conformance.test_kafka_strangers import prefix_of
from tests.conformance.test_rabbitmq_strangers import stranger_at
from tests.redis_cli import RedisCli

HEARING = {"a": ["t", "u"], "b": ["t"]}


@pytest.fixture(params=BROKERS)
def url(request: pytest.FixtureRequest) -> str:
    """Where each broker is, under names of this test's own."""
    return broker_url(request.param)


@pytest.fixture
async def broker(url: str) -> AsyncIterator[Broker]:
    """Each broker in turn, with nothing in it."""
    async with open_broker(url) as opened:
        yield opened


async def counts(broker: Broker) -> dict[str, int]:
    return {group: left.count for group, left in (await broker.backlog(HEARING)).items()}


async def until_empty(broker: Broker, group: str) -> None:
    """Wait until the broker has heard of all that was acknowledged."""
    async with asyncio.timeout(PATIENCE_S):
        while not (await broker.backlog(HEARING))[group].empty:
            await asyncio.sleep(0.05)


async def test_nothing_is_left_where_nothing_was_said(broker: Broker) -> None:
    assert await broker.backlog(HEARING) == {"a": Backlog(0), "b": Backlog(0)}


async def test_a_group_that_is_not_there_has_what_it_would_be_given(broker: Broker) -> None:
    await asyncio.wait_for(broker.publish([message(1), message(2)]), PATIENCE_S)
    left = (await counts(broker))["b"]
    group = await broker.subscribe("b", HEARING["b"])
    assert len(await take(group, left) if left else []) == left
    # Where nobody is known to hear, a broker keeps it for everybody who may come, or for nobody.
    assert left in {0, 2}


async def test_each_group_has_what_it_has_not_acknowledged_of_its_own_topics(broker: Broker) -> None:
    await broker.declare(HEARING)
    groups = {name: await broker.subscribe(name, topics) for name, topics in HEARING.items()}
    if broker.capabilities.durable:
        for group in groups.values():
            await group.close()
    publishing = await publish(broker, message(1), message(2, topic="u"), message(3, key="other"))
    assert await counts(broker) == {"a": 3, "b": 2}
    group = await broker.subscribe("b", HEARING["b"])
    await group.acknowledge(await take(group, 2))
    await group.close()
    await until_empty(broker, "b")
    assert (await broker.backlog(HEARING))["a"] == Backlog(3)
    await settle(publishing)


async def test_what_somebody_has_in_hand_is_never_taken_for_done(broker: Broker) -> None:
    await broker.declare(HEARING)
    group = await broker.subscribe("b", HEARING["b"])
    publishing = await publish(broker, *(message(n) for n in range(5)))
    taken = await take(group, 5)
    in_hand = (await broker.backlog(HEARING))["b"]
    assert not in_hand.empty
    assert not in_hand.exact or in_hand.count == 5
    await group.close()
    async with asyncio.timeout(PATIENCE_S):
        # It goes back a moment after a consumer's end.
        while (await broker.backlog(HEARING))["b"] != Backlog(5):
            await asyncio.sleep(0.05)
    again = await broker.subscribe("b", HEARING["b"])
    assert len(await take(again, 5)) == len(taken)
    await settle(publishing)


@pytest.mark.parametrize("nowhere", ["redis://127.0.0.1:1/", "amqp://127.0.0.1:1/", "kafka://127.0.0.1:1"])
async def test_a_broker_that_does_not_answer_tells_nothing(nowhere: str) -> None:
    async with open_broker(nowhere) as broker:
        with pytest.raises(BrokerUnavailable):
            await broker.backlog(HEARING)


async def test_asking_rabbitmq_makes_no_queue() -> None:
    url = broker_url("rabbitmq")
    async with open_broker(url) as broker:
        await broker.backlog(HEARING)
    with stranger_at(url) as stranger, pytest.raises(ChannelClosedByBroker, match="NOT_FOUND"):
        stranger.count("a")


async def test_asking_kafka_makes_no_topic() -> None:
    url = broker_url("kafka")
    async with open_broker(url) as broker:
        await broker.backlog(HEARING)
    admin = AIOKafkaAdminClient(bootstrap_servers=urlsplit(url).netloc)
    await admin.start()
    try:
        assert [name for name in await admin.list_topics() if name.startswith(prefix_of(url))] == []
    finally:
        await admin.close()


async def test_what_redis_does_not_count_itself_is_counted() -> None:
    url = broker_url("redis")
    redis, stream = RedisCli(url), url.rpartition("prefix=")[2] + "t"
    async with open_broker(url) as broker:
        await broker.declare(HEARING)
        await broker.publish([message(n) for n in range(6)])
        group = await broker.subscribe("b", ["t"], max_batch=2)
        await group.acknowledge(await take(group, 2))
        await group.close()
        # With one of those that nobody has read gone, Redis cannot tell how many there are.
        redis("XDEL", stream, redis("XRANGE", stream, "-", "+")[4][0])
        assert [one["lag"] for one in redis("XINFO", "GROUPS", stream) if one["name"] == "b"] == [None]
        assert (await broker.backlog(HEARING))["b"] == Backlog(3)
        # A group that is not there would be given all that is kept.
        assert (await broker.backlog({"nobody": ["t", "no-stream"]}))["nobody"] == Backlog(5)


async def settle(publishing: "asyncio.Task[None]") -> None:
    """Let go of a publication that nobody acknowledges any more."""
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
