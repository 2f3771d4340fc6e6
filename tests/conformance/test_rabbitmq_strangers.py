"""RabbitMQ seen by others: what we write there, and what anybody may write there for us, through a plain client."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from orderwright.kernel.broker import Broker, Delivery
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.messages import Message
from tests.brokers import broker_url
from tests.conformance.test_broker import PATIENCE_S, message, take

BROKERS_OWN = "x-delivery-count"
BODY = b'{"orderId":"o-1","totalAmount":400.0}'
SAID = Message(
    id="01987777-7777-7777-7777-777777777777",
    name="OrderCreated",
    topic="order.created",
    key="o-1",
    source="/order",
    time=datetime(2026, 1, 31, 12, 30, 15, 250000, tzinfo=UTC),
    body=BODY,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
ATTRIBUTES = {
    "ce_specversion": "1.0",
    "ce_id": "01987777-7777-7777-7777-777777777777",
    "ce_type": "OrderCreated",
    "ce_source": "/order",
    "ce_subject": "o-1",
    "ce_time": "2026-01-31T12:30:15.250000Z",
}


class Stranger:
    """A plain client of RabbitMQ that knows nothing of us but names."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.prefix = parse_qs(parts.query)["prefix"][0]
        self.exchange = f"{self.prefix}orderwright"
        self._connection = pika.BlockingConnection(pika.URLParameters(parts._replace(query="").geturl()))
        self.channel: BlockingChannel = self._connection.channel()
        self.channel.confirm_delivery()

    def put(self, body: bytes, topic: str = "order.created", **properties: Any) -> None:
        """Say something on a topic of ours."""
        self.channel.basic_publish(self.exchange, topic, body, pika.BasicProperties(**properties), mandatory=True)

    def count(self, queue: str) -> int:
        """How many messages wait in a queue of ours."""
        return int(self.channel.queue_declare(f"{self.exchange}.{queue}", passive=True).method.message_count)

    async def take(self, queue: str) -> tuple[Any, Any, bytes]:
        """Wait for the first message of a queue and take it for good: how it came, its properties, its body."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                method, properties, body = self.channel.basic_get(f"{self.exchange}.{queue}", auto_ack=True)
                if method is not None:
                    properties.headers = {k: v for k, v in (properties.headers or {}).items() if k != BROKERS_OWN}
                    return method, properties, body
                await asyncio.sleep(0.05)

    def leave(self) -> None:
        """End the connection."""
        self._connection.close()


@contextmanager
def stranger_at(url: str) -> Iterator[Stranger]:
    """A stranger at the broker of ours that this URL names."""
    known = Stranger(url)
    try:
        yield known
    finally:
        known.leave()


@pytest.fixture
def url() -> str:
    return broker_url("rabbitmq")


@pytest.fixture
def stranger(url: str) -> Iterator[Stranger]:
    with stranger_at(url) as known:
        yield known


async def received(broker: Broker, stranger: Stranger, put: Callable[[], None]) -> Delivery:
    """What a subscription makes of one message that the stranger puts there."""
    subscription = await broker.subscribe("a", ["order.created"])
    put()
    [delivery] = await take(subscription, 1)
    await subscription.acknowledge([delivery])
    return delivery


async def test_what_is_published_can_be_read_by_any_client(url: str, stranger: Stranger) -> None:
    async with open_broker(url) as broker:
        await broker.declare({"inventory": ["order.created"]})
        await broker.publish([SAID])
    method, properties, body = await stranger.take("inventory")
    assert (method.exchange, method.routing_key) == (f"{stranger.prefix}orderwright", "order.created")
    assert body == BODY
    assert properties.headers == {
        **ATTRIBUTES,
        "ce_schemaversion": "1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    assert properties.message_id == "01987777-7777-7777-7777-777777777777"
    assert properties.type == "OrderCreated"
    assert properties.timestamp == int(datetime(2026, 1, 31, 12, 30, 15, tzinfo=UTC).timestamp())


async def test_what_a_stranger_says_as_the_contract_wants_it_is_a_message(url: str, stranger: Stranger) -> None:
    async with open_broker(url) as broker:
        put = lambda: stranger.put(BODY, headers=ATTRIBUTES, content_type="application/json")  # noqa: E731
        delivery = await received(broker, stranger, put)
    message = Message.from_headers(delivery.topic, delivery.key, delivery.headers, delivery.body)
    assert (message.topic, message.key, message.name, message.version) == ("order.created", "o-1", "OrderCreated", 1)
    assert (message.time, message.body, message.traceparent) == (SAID.time, BODY, None)


async def test_a_bare_message_is_delivered_as_it_is(url: str, stranger: Stranger) -> None:
    async with open_broker(url) as broker:
        delivery = await received(broker, stranger, lambda: stranger.put(b""))
    assert (delivery.topic, delivery.key, dict(delivery.headers), delivery.body) == ("order.created", "", {}, b"")


async def test_headers_of_any_type_arrive_as_text(url: str, stranger: Stranger) -> None:
    odd = {
        "ce_subject": 42,
        "bytes": b"\xff\xfe",
        "yes": True,
        "none": None,
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "dear": Decimal("1.5"),
        "list": [1, "two"],
        "table": {"a": 1},
        "snow ⛄": "⛄",
    }
    async with open_broker(url) as broker:
        delivery = await received(broker, stranger, lambda: stranger.put(b"x", headers=odd, content_type="text/plain"))
    assert delivery.key == "42"
    assert dict(delivery.headers) == {
        "ce_subject": "42",
        "bytes": "��",
        "yes": "true",
        "none": "",
        "when": "2026-01-01T00:00:00.000000Z",
        "dear": "1.5",
        "list": "[1, 'two']",
        "table": "{'a': 1}",
        "snow ⛄": "⛄",
        "content-type": "text/plain",
    }


@pytest.mark.parametrize("size", [131_064, 131_065, 400_000])
async def test_a_body_of_several_frames_travels_both_ways(url: str, stranger: Stranger, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with open_broker(url) as broker:
        await broker.declare({"b": ["t"]})
        await broker.publish([message(1, body=body)])
        assert (await stranger.take("b"))[2] == body
        delivery = await received(broker, stranger, lambda: stranger.put(body))
    assert delivery.body == body


async def test_what_the_client_cannot_even_parse_ends_as_a_dead_letter() -> None:
    url = broker_url("rabbitmq", delivery_limit="2")
    async with open_broker(url) as broker:
        subscription = await broker.subscribe("a", ["order.created"])
        with stranger_at(url) as stranger:
            # A time in nanoseconds, no date of this calendar: the client gives up the connection that brings it.
            stranger.put(b"unreadable", timestamp=2**63)
            stranger.put(b"fine")
            [delivery] = await take(subscription, 1)
            assert delivery.body == b"fine"
            await subscription.acknowledge([delivery])
            assert (await stranger.take("dead-letters"))[2] == b"unreadable"
