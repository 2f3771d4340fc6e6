"""Hearing and saying: duplicates, poison, retries, crashes between commit and publish. On a real SQLite file."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import APIRouter

from orderwright.contracts.catalog import ProductDeleted
from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel import outbox
from orderwright.kernel.broker import Delivery
from orderwright.kernel.brokers.memory import MemoryBroker
from orderwright.kernel.consumer import MAX_BATCH, PATIENT_BATCH, Consumer
from orderwright.kernel.deadletters.desk import DeadLetterDesk
from orderwright.kernel.errors import BrokerUnavailable, TryLater
from orderwright.kernel.handling import in_runs
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.messages import Message, Received, encode
from orderwright.kernel.tables import kept_messages
from orderwright.kernel.tables import outbox as outbox_table
from orderwright.kernel.testing import ServiceBench
from orderwright.kernel.unit import UnitOfWork

MIGRATIONS = Path("src/orderwright/services/catalog/migrations")


class Listener:
    """A service that hears levels, notes them, and says something about each."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        self.poison: set[str] = set()

    def assemble(self, kit: Kit) -> Service:
        return Service(
            name="catalog",
            port=0,
            summary="",
            migrations=MIGRATIONS,
            router=APIRouter(),
            desk=kit,
            consumes={StockUpdated: self.on_stock_updated},
            emits=(ProductDeleted,),
        )

    def on_stock_updated(self, events: Sequence[Received[StockUpdated]], uow: UnitOfWork) -> None:
        for received in events:
            if received.event.product_id in self.poison:
                raise TryLater(f"{received.event.product_id} is poison")
            uow.emit(ProductDeleted(product_id=received.event.product_id))
        self.heard.append([received.event.product_id for received in events])


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def bench(tmp_path: Path, listener: Listener) -> AsyncIterator[ServiceBench]:
    async with ServiceBench.open(listener.assemble, "catalog", tmp_path) as opened:
        yield opened


def level(product_id: str) -> StockUpdated:
    return StockUpdated(product_id=product_id, quantity=1)


def said(bench: ServiceBench) -> list[str]:
    return [event.key for event in bench.take_said()]


async def kept(bench: ServiceBench) -> list[dict[str, Any]]:
    return await bench.rows(sa.select(kept_messages))


async def test_a_batch_is_handled_in_one_transaction_and_a_duplicate_once(
    bench: ServiceBench, listener: Listener
) -> None:
    messages = await bench.hear(level("a"), level("b"))
    await bench.hear_again(*messages)
    await bench.hear_again(messages[0], messages[0])
    assert listener.heard == [["a", "b"]]
    assert said(bench) == ["a", "b"]


async def test_the_same_message_twice_in_one_batch_is_handled_once(bench: ServiceBench, listener: Listener) -> None:
    message = encode(level("a"), id="m-1", source="/x", time=bench.clock.now())
    await bench.hear_again(message, message)
    assert listener.heard == [["a"]]


async def test_one_id_of_two_sources_is_two_messages(bench: ServiceBench, listener: Listener) -> None:
    for source in ("/x", "/y"):
        await bench.hear_again(encode(level("a"), id="m-1", source=source, time=bench.clock.now()))
    assert listener.heard == [["a"], ["a"]]


async def test_a_bad_message_does_not_hold_up_its_neighbours(bench: ServiceBench, listener: Listener) -> None:
    listener.poison = {"bad"}
    await bench.hear(level("a"), level("bad"), level("b"))
    assert listener.heard == [["a"], ["b"]]
    assert said(bench) == ["a", "b"]
    [message] = await kept(bench)
    assert (message["state"], message["key"], message["error"]) == ("retrying", "bad", "bad is poison")


async def test_a_kept_message_is_tried_again_later_and_then_gone(bench: ServiceBench, listener: Listener) -> None:
    listener.poison = {"bad"}
    await bench.hear(level("bad"))
    listener.poison = set()
    assert not listener.heard
    bench.clock.advance(1)
    await bench.retry_kept()
    assert listener.heard == [["bad"]]
    assert await kept(bench) == []


async def test_what_always_fails_becomes_a_dead_letter_and_can_be_replayed_once(
    bench: ServiceBench, listener: Listener
) -> None:
    listener.poison = {"bad"}
    [message] = await bench.hear(level("bad"))
    for _ in range(10):
        bench.clock.advance(400)
        await bench.retry_kept()
    [dead] = await kept(bench)
    assert (dead["state"], dead["attempts"]) == ("dead", 8)
    listener.poison = set()
    desk = DeadLetterDesk(bench.runtime.consumer.handlers, bench.runtime.units)
    outcomes = [(await desk.replay(dead["id"], who="ada")).outcome for _ in range(2)]
    assert outcomes == ["handled", "already_handled"]
    await bench.hear_again(message)
    assert listener.heard == [["bad"]]
    assert [message["state"] for message in await kept(bench)] == ["handled"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"body": b"not json"}, "not JSON"),
        ({"body": b'{"productId": 1, "quantity": 1}'}, "wrong type"),
        ({"headers": {}}, "no attributes"),
        ({"headers": {"ce_schemaversion": "99"}}, "a version from the future"),
        ({"headers": {"ce_type": "Other"}}, "another event on the topic"),
        ({"headers": {"ce_time": "yesterday"}}, "no time"),
    ],
)
async def test_what_can_never_be_read_is_a_dead_letter_at_once(
    bench: ServiceBench, change: dict[str, Any], reason: str
) -> None:
    message = encode(level("a"), id="m-1", source="/x", time=bench.clock.now())
    headers = {**message.headers(), **change["headers"]} if change.get("headers") else change.get("headers")
    good = message.headers() if headers is None else headers
    await bench.runtime.consumer.hear(
        [Delivery(message.topic, message.key, good, change.get("body", message.body), None)]
    )
    [dead] = await kept(bench)
    assert (dead["state"], dead["attempts"]) == ("dead", 1), reason


async def test_unknown_members_are_ignored(bench: ServiceBench, listener: Listener) -> None:
    message = encode(level("a"), id="m-1", source="/x", time=bench.clock.now())
    body = b'{"productId": "a", "quantity": 1, "colour": "red"}'
    await bench.runtime.consumer.hear([Delivery(message.topic, message.key, message.headers(), body, None)])
    assert listener.heard == [["a"]]


class Portions(MemoryBroker):
    """A broker that hands over portions, each of a size and perhaps with more behind it, and then ends."""

    def __init__(self, portions: Sequence[tuple[int, bool]], bench: ServiceBench) -> None:
        super().__init__()
        ids, now = itertools.count(), bench.clock.now()
        messages = [
            [encode(level(f"p-{n}"), id=f"m-{n}", source="/x", time=now) for n in itertools.islice(ids, size)]
            for size, _ in portions
        ]
        self._portions = [
            [Delivery(m.topic, m.key, m.headers(), m.body, None) for m in portion] for portion in messages
        ]
        self._more = iter([more for _, more in portions])
        self.more_waits = False

    async def subscribe(self, group: str, topics: Sequence[str], *, max_batch: int = 100) -> Any:
        return self

    async def receive(self) -> Sequence[Delivery]:
        self.more_waits = next(self._more, False)
        return self._portions.pop(0) if self._portions else []

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """They are gone already."""


@pytest.mark.parametrize(
    ("portions", "waits"),
    [([(50, True)] * 10, 0), ([(PATIENT_BATCH, False)] * 10, 0), ([(8, False)] * 20, 17)],
    ids=["more waits", "full", "neither"],
)
async def test_who_can_wait_does_so_only_when_nothing_waits_any_more(
    bench: ServiceBench, portions: list[tuple[int, bool]], waits: int
) -> None:
    handlers = bench.runtime.service.consumes
    consumer = Consumer("catalog", handlers, Portions(portions, bench), bench.runtime.units, patience_s=0.01)
    began_s = bench.clock.monotonic_s()
    await consumer.run_forever()
    assert round((bench.clock.monotonic_s() - began_s) / 0.01) == waits


@pytest.mark.parametrize(("patience_s", "most"), [(0.0, MAX_BATCH), (0.01, PATIENT_BATCH)], ids=["none", "some"])
async def test_who_has_patience_catches_up_in_larger_batches(
    bench: ServiceBench, listener: Listener, patience_s: float, most: int
) -> None:
    now = bench.clock.now()
    messages = [encode(level(f"p-{n}"), id=bench.ids.new(), source="/x", time=now) for n in range(2 * most)]
    async with MemoryBroker() as broker:
        consumer = Consumer(
            "catalog", bench.runtime.service.consumes, broker, bench.runtime.units, patience_s=patience_s
        )
        await consumer.subscribe()
        publishing = asyncio.create_task(broker.publish(messages))
        await asyncio.sleep(0)
        hearing = asyncio.create_task(consumer.run_forever())
        await publishing
        consumer.stop()
        await hearing
    assert [len(batch) for batch in listener.heard] == [most, most]


async def test_too_many_dead_letters_in_a_row_stop_the_consumer_and_readiness_says_so(bench: ServiceBench) -> None:
    message = encode(level("a"), id="m-1", source="/x", time=bench.clock.now())
    delivery = Delivery(message.topic, message.key, message.headers(), b"nonsense", None)
    assert (await bench.request("GET", "/ready", roles=())).status == 200
    await bench.runtime.consumer.hear([delivery] * 50)
    answer = await bench.request("GET", "/ready", roles=())
    assert (answer.status, "dead letters" in answer.json["checks"]["consumer"]) == (503, True)


async def test_what_a_crash_left_in_the_outbox_is_sent_and_then_deleted(bench: ServiceBench, tmp_path: Path) -> None:
    subscription = await bench.runtime._broker.subscribe("somebody", ["product.deleted"])
    await bench.hear(level("a"), level("b"))
    relay = bench.runtime.relay
    relay._handed_over._queue.clear()  # type: ignore[attr-defined]
    now = bench.clock.now()
    await bench.runtime.database.write(lambda connection: outbox.release_all(connection, now))
    received: list[str] = []

    async def receive() -> None:
        deliveries = await subscription.receive()
        received.extend(delivery.key for delivery in deliveries)
        await subscription.acknowledge(deliveries)

    await asyncio.gather(relay.sweep(), receive())
    assert received == ["a", "b"]
    await relay.flush()
    assert await bench.rows(sa.select(outbox_table)) == []


async def test_a_broker_that_is_away_loses_nothing_and_readiness_says_why(bench: ServiceBench) -> None:
    await bench.hear(level("a"))
    await bench.runtime._broker.close()
    with pytest.raises(BrokerUnavailable):
        await bench.runtime._broker.publish([])
    assert len(await bench.rows(sa.select(outbox_table))) == 1
    answer = await bench.request("GET", "/ready", roles=())
    assert (answer.status, "broker" in answer.json["checks"]) == (503, True)


def test_runs_keep_the_order_of_every_key() -> None:
    def received(topic: str, key: str) -> Received[Any]:
        message = Message(f"{topic}{key}", topic, topic, key, "/x", None, b"")  # type: ignore[arg-type]
        return Received(None, message)

    batch = [
        received(topic, key) for topic, key in [("c", "1"), ("c", "2"), ("x", "1"), ("c", "3"), ("c", "1"), ("x", "2")]
    ]
    runs = [(topic, [r.message.key for r in run]) for topic, run in in_runs(batch, str)]
    assert runs == [("c", ["1", "2", "3"]), ("x", ["1", "2"]), ("c", ["1"])]
