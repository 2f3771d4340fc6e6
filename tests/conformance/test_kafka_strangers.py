"""Kafka seen from outside: what Kafka's own tools read of ours, and what others may put into a topic of ours."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from orderwright.kernel.broker import Broker
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.messages import Message
from tests.brokers import broker_url, own_server
from tests.conformance.test_broker import PATIENCE_S, take
from tools.backends.servers import Kafka

SAID = Message(
    id="0190a0c8-0000-7000-8000-000000000001",
    name="OrderCreated",
    topic="order.created",
    key="order-1",
    source="/services/order",
    time=datetime(2026, 1, 31, 12, tzinfo=UTC),
    body=b'{"orderId":"order-1","totalAmount":400.00}',
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)


@pytest.fixture
def url() -> str:
    """A Kafka, and names there that nobody else has."""
    return broker_url("kafka")


@pytest.fixture
async def broker(url: str) -> AsyncIterator[Broker]:
    """Ours, on that URL."""
    async with open_broker(url) as opened:
        yield opened


def prefix_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["prefix"][0]


async def run_tool(name: str, *arguments: str, given: str = "") -> str:
    """What one of Kafka's own tools prints."""
    server = own_server("kafka")
    assert isinstance(server, Kafka)
    process = await asyncio.create_subprocess_exec(
        *server.tool(name, "--bootstrap-server", f"127.0.0.1:{server.port}", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(given.encode()), PATIENCE_S)
    assert process.returncode == 0, errors.decode()
    return output.decode()


def properties(**words: str) -> list[str]:
    """Properties of a tool's formatter or reader; `_` stands for a dot."""
    return [part for name, value in words.items() for part in ("--property", f"{name.replace('_', '.')}={value}")]


async def test_kafkas_own_consumer_reads_the_key_the_attributes_and_the_bare_payload(broker: Broker, url: str) -> None:
    await broker.publish([SAID])
    printed = await run_tool(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        *("--topic", f"{prefix_of(url)}order.created", "--from-beginning", "--max-messages", "1"),
        *properties(print_key="true", print_headers="true", key_separator="|", headers_separator=";"),
    )
    headers, key, body = printed.rstrip("\n").split("|")
    assert key == "order-1"
    assert body == '{"orderId":"order-1","totalAmount":400.00}'
    assert sorted(headers.split(";")) == [
        "ce_id:0190a0c8-0000-7000-8000-000000000001",
        "ce_schemaversion:1",
        "ce_source:/services/order",
        "ce_specversion:1.0",
        "ce_subject:order-1",
        "ce_time:2026-01-31T12:00:00.000000Z",
        "ce_type:OrderCreated",
        "content-type:application/json",
        "traceparent:00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ]


async def test_what_kafkas_own_producer_writes_is_received(broker: Broker, url: str) -> None:
    group = await broker.subscribe("a", ["order.created"])
    attributes = "ce_id:x-1;ce_type:OrderCreated;ce_source:/by/hand;ce_time:2026-01-31T12:00:00Z"
    await run_tool(
        "org.apache.kafka.tools.ConsoleProducer",
        *("--topic", f"{prefix_of(url)}order.created"),
        *properties(parse_key="true", key_separator="|", parse_headers="true", headers_delimiter="|"),
        *properties(headers_separator=";", null_marker="NOTHING"),
        given=f'{attributes}|order-9|{{"orderId":"order-9"}}\nNOTHING|order-9|NOTHING\nhue:blue|NOTHING|plain\n',
    )
    by_body = {delivery.body: delivery for delivery in await take(group, 3)}
    ours = by_body[b'{"orderId":"order-9"}']
    heard = Message.from_headers(ours.topic, ours.key, ours.headers, ours.body)
    assert (heard.id, heard.name, heard.topic, heard.key) == ("x-1", "OrderCreated", "order.created", "order-9")
    assert (by_body[b""].key, by_body[b""].headers) == ("order-9", {})
    assert (by_body[b"plain"].key, by_body[b"plain"].headers) == ("", {"hue": "blue"})


async def test_headers_and_keys_that_are_no_text_do_not_stop_what_comes_after_them(broker: Broker, url: str) -> None:
    group = await broker.subscribe("a", ["order.created"])
    producer = AIOKafkaProducer(bootstrap_servers=urlsplit(url).netloc)
    await producer.start()
    try:
        strange = [("ce_id", b"\xff\xfe"), ("n", (7).to_bytes(8, "big")), ("nothing", None), ("twice", b"1")]
        await producer.send_and_wait(
            f"{prefix_of(url)}order.created", b"\x80", key=b"\xc3\x28", headers=[*strange, ("twice", b"2")]
        )
    finally:
        await producer.stop()
    await broker.publish([replace(SAID, body=b"after")])
    deliveries = {delivery.body: delivery for delivery in await take(group, 2)}
    assert set(deliveries) == {b"\x80", b"after"}
    assert deliveries[b"\x80"].headers == {"ce_id": "��", "n": "\0" * 7 + "\a", "nothing": "", "twice": "2"}
    assert deliveries[b"\x80"].key == "�("
