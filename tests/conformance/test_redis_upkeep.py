"""What Redis Streams need beyond the port: trimming, taking over, and groups that somebody removed."""

import asyncio
import json
from collections.abc import Callable
from io import StringIO

import pytest

from orderwright.kernel.brokers.redis import subscription, upkeep
from orderwright.kernel.brokers.redis.broker import RedisBroker
from orderwright.kernel.telemetry import configure_logs
from tests.brokers import broker_url, own_server
from tests.conformance.test_broker import PATIENCE_S, message, numbers, take
from tests.conformance.test_redis_strangers import prefix_of
from tests.redis_cli import RedisCli

NODE = 100
"""Redis removes entries by nodes of so many, unless it is configured otherwise."""


async def until(holds: Callable[[], bool]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.02)


async def test_trimming_keeps_what_a_group_still_needs_and_removes_the_rest() -> None:
    url = broker_url("redis", keep_s="0")
    redis, stream = RedisCli(url), f"{url.split('prefix=')[1].partition('&')[0]}t"
    async with RedisBroker(url) as broker:
        await broker.declare({"quick": ["t"], "slow": ["t"]})
        await broker.publish([message(n) for n in range(500)])
        quick, slow = [await broker.subscribe(name, ["t"], max_batch=500) for name in ("quick", "slow")]
        await quick.acknowledge(await take(quick, 500))
        await quick.close()
        await broker.trim()
        assert redis("XLEN", stream) == 500
        deliveries = await take(slow, 500)
        await slow.acknowledge(deliveries[:250] + deliveries[251:])
        await slow.close()
        await broker.trim()
        assert 250 <= redis("XLEN", stream) < 250 + NODE
        successor = await broker.subscribe("slow", ["t"])
        again = await take(successor, 1)
        assert numbers(again) == [250]
        await successor.acknowledge(again)
        await successor.close()
        await broker.trim()
        assert redis("XLEN", stream) < NODE


async def test_what_is_young_is_kept_though_nobody_needs_it() -> None:
    url = broker_url("redis")
    async with RedisBroker(url) as broker:
        group = await broker.subscribe("a", ["t"], max_batch=500)
        await broker.publish([message(n) for n in range(500)])
        await group.acknowledge(await take(group, 500))
        await group.close()
        await broker.trim()
        assert RedisCli(url)("XLEN", f"{prefix_of(url)}t") == 500


async def test_a_stream_that_grows_beyond_measure_is_told_with_the_group_that_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upkeep, "MANY", 10)
    url = broker_url("redis")
    async with RedisBroker(url) as broker:
        await broker.declare({"absent": ["t"]})
        group = await broker.subscribe("present", ["t"])
        await broker.publish([message(n) for n in range(11)])
        await group.acknowledge(await take(group, 11))
        log = StringIO()
        configure_logs(form="json", level="warning", stream=log)
        await broker.trim()
    line = json.loads(log.getvalue())
    assert (line["event"], line["stream"], line["entries"]) == ("stream_grows", f"{prefix_of(url)}t", 11)
    assert line["waits_for"] == "absent"


async def test_what_a_consumer_holds_for_long_is_not_given_to_itself_again_but_to_another() -> None:
    url = broker_url("redis", claim_after_s="0.3")
    redis, stream = RedisCli(url), f"{url.split('prefix=')[1].partition('&')[0]}t"

    def idle() -> int:
        return len(redis("XPENDING", stream, "a", "IDLE", 300, "-", "+", 10))

    async with RedisBroker(url) as broker:
        slow = await broker.subscribe("a", ["t"])
        await broker.publish([message(n) for n in range(3)])
        held = await take(slow, 3)
        await until(lambda: idle() == 3)
        waiting = asyncio.create_task(take(slow, 1))
        await until(lambda: idle() == 0)  # it has claimed its own
        await broker.publish([message(3)])
        held += await waiting
        assert numbers(held) == [0, 1, 2, 3]
        other = await broker.subscribe("a", ["t"])
        taken = await take(other, 4)
        assert sorted(numbers(taken)) == [0, 1, 2, 3]
        await slow.acknowledge(held)
        await slow.close()
        await other.acknowledge(taken)
        await other.close()
        assert redis("XPENDING", stream, "a")[0] == 0


async def test_what_is_acknowledged_is_told_with_the_next_reading_and_at_the_latest_before_the_next_batch() -> None:
    url = broker_url("redis")
    redis, stream = RedisCli(url), f"{prefix_of(url)}t"

    def pending() -> int:
        return int(redis("XPENDING", stream, "a")[0])

    async with RedisBroker(url) as broker:
        await broker.declare({"a": ["t"]})
        await broker.publish([message(n) for n in range(3)])
        group = await broker.subscribe("a", ["t"], max_batch=1)
        one = await take(group, 1)
        await group.acknowledge(one)
        two = await take(group, 1)
        assert pending() == 1
        await group.acknowledge(two)
        await group.acknowledge(await take(group, 1))
        waiting = asyncio.create_task(take(group, 1))
        await until(redis.somebody_waits)
        assert pending() == 0
        await broker.publish([message(3)])
        last = await waiting
        await group.close()
        await group.acknowledge(last)
        assert pending() == 0


async def test_what_is_acknowledged_while_others_wait_here_is_told_before_they_are_handed_over() -> None:
    url = broker_url("redis")
    redis, prefix = RedisCli(url), prefix_of(url)
    async with RedisBroker(url) as broker:
        await broker.declare({"a": ["t", "u"]})
        await broker.publish([message(0), message(1, topic="u"), message(2, topic="u")])
        group = await broker.subscribe("a", ["t", "u"], max_batch=2)
        await group.acknowledge(await take(group, 2))
        assert numbers(await take(group, 1)) == [2]
        assert [redis("XPENDING", f"{prefix}{topic}", "a")[0] for topic in "tu"] == [0, 1]


async def test_what_was_handled_when_redis_went_away_does_not_come_again() -> None:
    server = own_server("redis")
    async with RedisBroker(broker_url("redis")) as broker:
        group = await broker.subscribe("a", ["t"])
        await broker.publish([message(0)])
        handled = await take(group, 1)
        await asyncio.to_thread(server.stop)
        await group.acknowledge(handled)
        waiting = asyncio.create_task(take(group, 1))
        await asyncio.sleep(0.05)  # it may find out now that Redis is away; it does not have to
        await asyncio.to_thread(server.start)
        await broker.publish([message(1)])
        assert numbers(await waiting) == [1]


async def test_who_leaves_entries_behind_is_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "WAIT_S", 3600.0)
    url = broker_url("redis", claim_after_s="3600")
    async with RedisBroker(url) as broker:
        staying = await broker.subscribe("a", ["t"])
        await broker.publish([message(0)])
        await staying.acknowledge(await take(staying, 1))  # and has looked for what was left, until in an hour
        await broker.publish([message(n) for n in range(1, 4)])
        leaving = await broker.subscribe("a", ["t"])
        await take(leaving, 3)
        waiting = asyncio.create_task(take(staying, 3))
        await until(RedisCli(url).somebody_waits)
        await leaving.close()
        taken = await waiting
        assert numbers(taken) == [1, 2, 3]
        await staying.acknowledge(taken)


async def test_a_consumer_that_owes_nothing_leaves_no_trace() -> None:
    url = broker_url("redis")
    async with RedisBroker(url) as broker:
        await broker.publish([message(1)])
        group = await broker.subscribe("a", ["t"])
        deliveries = await take(group, 1)
        await group.acknowledge(deliveries)
        await group.close()
        assert RedisCli(url)("XINFO", "CONSUMERS", f"{prefix_of(url)}t", "a") == []


async def test_consumers_that_are_gone_for_long_are_removed_unless_entries_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upkeep, "FORSAKEN_MS", 1)
    url = broker_url("redis")
    redis, stream = RedisCli(url), f"{prefix_of(url)}t"
    async with RedisBroker(url) as broker:
        await broker.declare({"a": ["t"]})
        await broker.publish([message(1)])
        redis("XREADGROUP", "GROUP", "a", "holds-one", "STREAMS", stream, ">")
        redis("XGROUP", "CREATECONSUMER", stream, "a", "holds-none")
        await until(lambda: all(one["idle"] > 1 for one in redis("XINFO", "CONSUMERS", stream, "a")))
        await broker.trim()
        assert [one["name"] for one in redis("XINFO", "CONSUMERS", stream, "a")] == ["holds-one"]


async def test_streams_and_groups_that_somebody_removed_are_made_again() -> None:
    url = broker_url("redis")
    redis, prefix = RedisCli(url), prefix_of(url)
    async with RedisBroker(url) as broker:
        await broker.declare({"absent": ["t"]})
        group = await broker.subscribe("a", ["t", "u"])
        await broker.publish([message(0)])
        await group.acknowledge(await take(group, 1))
        waiting = asyncio.create_task(take(group, 2))
        await until(redis.somebody_waits)
        redis("DEL", f"{prefix}t", f"{prefix}u", f"{prefix}~a", f"{prefix}~absent")
        await broker.publish([message(1), message(2, topic="u")])
        taken = await waiting
        assert sorted(numbers(taken)) == [1, 2]
        await group.acknowledge(taken)
        absent = await broker.subscribe("absent", ["t"])
        assert numbers(await take(absent, 1)) == [1]
