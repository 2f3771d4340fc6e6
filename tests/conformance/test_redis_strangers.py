"""Redis Streams as others see them: what `publish` writes, and what somebody else may write. Seen by redis-cli."""

from datetime import UTC, datetime

import pytest

from orderwright.kernel.brokers import open_broker
from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError, MalformedMessage
from orderwright.kernel.messages import Message
from tests.brokers import broker_url
from tests.conformance.test_broker import message, take
from tests.redis_cli import RedisCli

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def prefix_of(url: str) -> str:
    return url.rpartition("prefix=")[2]


async def test_a_published_message_is_an_entry_with_the_body_and_its_attributes_beside_it() -> None:
    url = broker_url("redis")
    said = datetime(2026, 1, 31, 12, tzinfo=UTC)
    sent = Message("m-1", "OrderCreated", "order.created", "o-1", "/order", said, b'{"totalAmount":400.0}', 1, TRACE)
    async with open_broker(url) as broker:
        await broker.publish([sent])
    [[_, fields]] = RedisCli(url)("XRANGE", prefix_of(url) + "order.created", "-", "+")
    assert dict(zip(fields[::2], fields[1::2], strict=True)) == {
        "data": '{"totalAmount":400.0}',
        "ce_specversion": "1.0",
        "ce_id": "m-1",
        "ce_type": "OrderCreated",
        "ce_source": "/order",
        "ce_subject": "o-1",
        "ce_time": "2026-01-31T12:00:00.000000Z",
        "ce_schemaversion": "1",
        "content-type": "application/json",
        "traceparent": TRACE,
    }


async def test_a_group_is_a_consumer_group_of_its_name_on_every_stream() -> None:
    url = broker_url("redis")
    redis, prefix = RedisCli(url), prefix_of(url)
    async with open_broker(url) as broker:
        await broker.declare({"payment": ["order.created", "stock.reserved"]})
    for topic in ("order.created", "stock.reserved"):
        [group] = redis("XINFO", "GROUPS", prefix + topic)
        assert (group["name"], group["last-delivered-id"]) == ("payment", "0-0")


async def test_what_somebody_else_adds_arrives_as_a_message() -> None:
    url = broker_url("redis")
    async with open_broker(url) as broker:
        group = await broker.subscribe("a", ["t"])
        attributes = (
            "ce_specversion 1.0 ce_id x-1 ce_type Event ce_source /els ce_subject k-9 ce_time 2026-01-01T00:00:00Z"
        )
        RedisCli(url)("XADD", f"{prefix_of(url)}t", "*", *attributes.split(), "ce_extra", "7", "data", '{"a": 1}')
        [delivery] = await take(group, 1)
    received = Message.from_headers(delivery.topic, delivery.key, delivery.headers, delivery.body)
    said = datetime(2026, 1, 1, tzinfo=UTC)
    assert received == Message("x-1", "Event", "t", "k-9", "/els", said, b'{"a": 1}')
    assert delivery.headers["ce_extra"] == "7"


@pytest.mark.parametrize(
    ("fields", "key", "headers", "body"),
    [
        (["n", 42], "", {"n": "42"}, b""),
        (["data", b"\xff\x01"], "", {}, b"\xff\x01"),
        (["data", "", "ce_subject", "k"], "k", {"ce_subject": "k"}, b""),
        ([b"\xfe", b"\xff", "ce_subject", b"k\xff"], "k�", {"�": "�", "ce_subject": "k�"}, b""),
    ],
    ids=["no body", "only a body", "an empty body", "no text"],
)
async def test_what_is_no_message_of_ours_arrives_and_says_that_it_is_none(
    fields: list[str | bytes | int], key: str, headers: dict[str, str], body: bytes
) -> None:
    url = broker_url("redis")
    async with open_broker(url) as broker:
        group = await broker.subscribe("a", ["t"])
        RedisCli(url)("XADD", f"{prefix_of(url)}t", "*", *fields)
        await broker.publish([message(1)])
        [strange, ours] = await take(group, 2)
        await group.acknowledge([strange, ours])
        assert (strange.topic, strange.key, strange.headers, strange.body) == ("t", key, headers, body)
        assert ours.body == b"1"
        with pytest.raises(MalformedMessage, match="t has unusable attributes"):
            Message.from_headers(strange.topic, strange.key, strange.headers, strange.body)


async def test_a_key_that_is_no_stream_is_named_by_who_cannot_publish_there() -> None:
    url = broker_url("redis")
    async with open_broker(url) as broker:
        RedisCli(url)("SET", f"{prefix_of(url)}t", "no stream", "EX", 60)
        with pytest.raises(BrokerUnavailable, match=rf"{prefix_of(url)}t.*WRONGTYPE"):
            await broker.publish([message(1)])
        await broker.publish([message(2, topic="u")])


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("redis://:hush@h/?prefixes=x", "'prefixes'; known are prefix, claim_after_s, keep_s$"),
        ("redis://:hush@h/?ssl_ca_certs=x", "'ssl_ca_certs'"),
        ("rediss://:hush@h/?x=y", "known are prefix, claim_after_s, keep_s, ssl_ca_certs, ssl_certfile, ssl_keyfile"),
        ("redis://:hush@h/?keep_s=soon", "keep_s=soon must be a number of seconds, 0 or more"),
        ("redis://:hush@h/?claim_after_s=0", "claim_after_s=0 must be a number of seconds, 0.1 or more"),
        ("redis://:hush@h/?claim_after_s=nan", "claim_after_s=nan must be"),
        ("redis://:hush@h:port/", "must be like redis://"),
        ("redis://:hu#sh@h/", "percent-encoded"),
        ("redis://:hush@h/first", "must be like redis://"),
        ("redis://", "must be like redis://"),
    ],
)
def test_a_url_that_is_wrong_is_refused_without_its_password(url: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong) as caught:
        open_broker(url)
    assert "hu" not in str(caught.value).replace("such", "")
