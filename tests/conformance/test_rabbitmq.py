"""What is special to RabbitMQ: dead letters, full queues, queues of another make, URLs, and networks that fail."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit, urlunsplit

import pytest
from pamqp import frame
from pamqp.commands import Connection

from orderwright.kernel.broker import Broker, Subscription
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError
from tests.brokers import broker_url, with_query
from tests.certificates import self_signed
from tests.conformance.test_broker import PATIENCE_S, Crew, message, numbers, take
from tests.conformance.test_rabbitmq_strangers import Stranger, stranger_at
from tools.proxy import Proxy, proxy

POISON = 4
SECRET = "s3cret-of-the-account"


def through(url: str, stand_in: Proxy, scheme: str = "amqp") -> str:
    """The same broker by way of a proxy."""
    parts = urlsplit(url)
    account = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(scheme=scheme, netloc=f"{account}@127.0.0.1:{stand_in.port}"))


def upstream(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or 5672


async def publish_at_last(broker: Broker, number: int) -> None:
    """Publish, again and again while the broker cannot be reached."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await broker.publish([message(number)])
                return
            except BrokerUnavailable:
                await asyncio.sleep(0.1)


async def publish_one_by_one(broker: Broker, count: int) -> None:
    for number in range(count):
        await broker.publish([message(number)])


async def work_until_it_kills(subscription: Subscription) -> set[int]:
    """Handle what comes one by one, as a process that dies of the poison; what was handled before."""
    handled: set[int] = set()
    try:
        async with asyncio.timeout(1):
            while True:
                for delivery in await subscription.receive():
                    if int(delivery.body) == POISON:
                        return handled
                    await subscription.acknowledge([delivery])
                    handled.add(int(delivery.body))
    except TimeoutError:
        return handled
    finally:
        await subscription.close()


@pytest.fixture
def url() -> str:
    return broker_url("rabbitmq")


@pytest.fixture
def stranger(url: str) -> Iterator[Stranger]:
    with stranger_at(url) as known:
        yield known


@pytest.fixture
async def stand_in() -> AsyncIterator[Proxy]:
    async with proxy(*upstream(broker_url("rabbitmq"))) as made:
        yield made


async def test_what_kills_its_consumer_again_and_again_ends_as_a_dead_letter_and_takes_nobody_along() -> None:
    url = broker_url("rabbitmq", delivery_limit="10")
    handled: set[int] = set()
    deaths = 0
    with stranger_at(url) as stranger:
        async with open_broker(url) as broker:
            await broker.declare({"a": ["t"]})
            await broker.publish([message(n) for n in range(30)])
            while not stranger.count("dead-letters"):
                handled |= await work_until_it_kills(await broker.subscribe("a", ["t"]))
                deaths += 1
        assert handled == set(range(30)) - {POISON}
        assert deaths >= 11
        method, properties, body = await stranger.take("dead-letters")
        assert (method.routing_key, body) == ("t", str(POISON).encode())
        assert properties.headers["x-death"][0]["reason"] == "delivery_limit"
        assert stranger.count("dead-letters") == 0


async def test_a_full_queue_refuses_and_the_publisher_knows(url: str, stranger: Stranger) -> None:
    async with open_broker(url) as broker:
        await broker.declare({})
        small = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length": 3}
        stranger.channel.queue_declare(f"{stranger.prefix}small", durable=True, arguments=small)
        stranger.channel.queue_bind(f"{stranger.prefix}small", stranger.exchange, "t")
        with pytest.raises(BrokerUnavailable, match="could not take what was published"):
            await publish_one_by_one(broker, 100)
        await broker.publish([message(1, topic="u")])
    stranger.channel.queue_delete(f"{stranger.prefix}small")


async def test_a_queue_of_another_make_is_named_with_what_to_do(url: str, stranger: Stranger) -> None:
    queue = f"{stranger.exchange}.a"
    stranger.channel.queue_declare(queue, durable=True)
    async with open_broker(url) as broker:
        for attempt in (lambda: broker.declare({"a": ["t"]}), lambda: broker.subscribe("a", ["t"])):
            with pytest.raises(ConfigurationError, match=f"The queue {queue} is there already.*delete it"):
                await attempt()
        await broker.publish([message(1)])


async def test_what_an_operator_deletes_is_made_again(url: str, stranger: Stranger) -> None:
    async with open_broker(url) as broker:
        crew = Crew(broker)
        await crew.hire()
        await broker.publish([message(1)])
        await crew.until({1})
        stranger.channel.exchange_delete(stranger.exchange)
        stranger.channel.queue_delete(f"{stranger.exchange}.a")
        async with asyncio.timeout(PATIENCE_S):
            while 2 not in crew.bodies():
                await publish_at_last(broker, 2)
                await asyncio.sleep(0.1)
        await crew.dismiss()
        assert crew.bodies() == {1, 2}


async def test_acknowledgements_of_a_lost_connection_are_not_taken_for_those_of_the_next(stand_in: Proxy) -> None:
    async with open_broker(through(broker_url("rabbitmq"), stand_in)) as broker:
        subscription = await broker.subscribe("a", ["t"], max_batch=10)
        await broker.publish([message(n) for n in range(5)])
        before = await take(subscription, 5)
        stand_in.cut()
        again = await take(subscription, 5)
        assert numbers(again) == [0, 1, 2, 3, 4]
        await subscription.acknowledge(before)
        await subscription.close()
        other = await broker.subscribe("a", ["t"])
        assert numbers(await take(other, 5)) == [0, 1, 2, 3, 4]


async def test_a_silent_broker_is_said_to_be_away_soon_and_holds_nobody_up(stand_in: Proxy) -> None:
    broker = open_broker(through(broker_url("rabbitmq"), stand_in))
    subscription = await broker.subscribe("a", ["t"])
    await broker.publish([message(1)])
    [delivery] = await take(subscription, 1)
    stand_in.freeze()
    for attempt in (broker.publish([message(2)]), broker.ping()):
        began_s = monotonic()
        with pytest.raises(BrokerUnavailable):
            await attempt
        assert monotonic() - began_s < 7
    await subscription.acknowledge([delivery])
    began_s = monotonic()
    await broker.close()
    assert monotonic() - began_s < 6


async def test_a_silent_connection_is_given_up_and_replaced(stand_in: Proxy) -> None:
    async with open_broker(through(broker_url("rabbitmq"), stand_in)) as broker:
        crew = Crew(broker)
        await crew.hire()
        await broker.publish([message(1)])
        await crew.until({1})
        began_s = monotonic()
        stand_in.forget()
        await publish_at_last(broker, 2)
        await crew.until({1, 2})
        assert monotonic() - began_s < 45
        await crew.dismiss()


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", frame.marshal(Connection.Start(), 0)])
async def test_somebody_who_hangs_up_is_no_broker(greeting: bytes) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_broker(f"amqp://somebody:{SECRET}@127.0.0.1:{port}/") as broker:
        for _ in range(10):
            with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}") as caught:
                await broker.ping()
            assert SECRET not in str(caught.value)
    server.close()


async def test_a_wrong_password_is_said_without_saying_it() -> None:
    host, port = upstream(broker_url("rabbitmq"))
    async with open_broker(f"amqp://orderwright:{SECRET}@{host}:{port}/") as broker:
        with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED") as caught:
            await broker.subscribe("a", ["t"])
        assert SECRET not in str(caught.value)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself."""
    return self_signed(tmp_path / "certificate.pem", name="127.0.0.1")


async def test_a_connection_may_be_encrypted(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    url = broker_url("rabbitmq")
    async with proxy(*upstream(url), tls) as stand_in:
        encrypted = through(url, stand_in, "amqps")
        async with open_broker(with_query(encrypted, {"cafile": str(certificate)}.items())) as broker:
            subscription = await broker.subscribe("a", ["t"])
            await broker.publish([message(1)])
            deliveries = await take(subscription, 1)
            assert numbers(deliveries) == [1]
            await subscription.acknowledge(deliveries)
        async with open_broker(encrypted) as broker:
            with pytest.raises(BrokerUnavailable, match="certificate"):
                await broker.ping()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://h/?colour=red", "knows no option 'colour'; known are delivery_limit, prefix"),
        ("amqp://h/?cafile=x", "knows no option 'cafile'"),
        ("amqps://h/?colour=red", "known are delivery_limit, prefix, cafile, certfile, keyfile"),
        ("amqp://h/?delivery_limit=0", "whole number from 1"),
        ("amqp://h/?delivery_limit=many", "whole number from 1"),
        (f"amqp://u:{SECRET}/x@h/", "must be percent-encoded"),
        ("amqps://h/?cafile=/nowhere", "cafile=/nowhere"),
        ("amqps://h/?keyfile=/nowhere", "needs \\?certfile="),
    ],
)
def test_a_url_that_makes_no_sense_is_refused(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        open_broker(url)
    assert SECRET not in str(caught.value)
