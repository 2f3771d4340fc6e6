"""What waits behind a message that failed: its own story, in order; nobody else's. On SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.catalog import ProductDeleted
from orderwright.contracts.shipping import OrderDelivered
from orderwright.kernel.broker import Delivery
from orderwright.kernel.deadletters import kept as store
from orderwright.kernel.errors import MalformedMessage, TryLater
from orderwright.kernel.messages import encode
from orderwright.kernel.tables import kept_lines
from orderwright.kernel.testing import ServiceBench
from tests.kernel.letters import Faults, broken, desk_of, give_up, kept, level, listening, noted, settle, states

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def bench(tmp_path: Path, faults: Faults) -> AsyncIterator[ServiceBench]:
    async with listening(tmp_path, faults) as opened:
        yield opened


async def lines(bench: ServiceBench) -> list[str]:
    return [row["key"] for row in await bench.rows(sa.select(kept_lines).order_by(kept_lines.c.key))]


async def test_later_messages_of_a_key_wait_and_follow_in_their_order(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug 1"] = broken()
    await bench.hear(level("mug", 1))
    await bench.hear(level("mug", 2), level("cup", 1))
    await bench.hear(ProductDeleted(product_id="mug"), level("mug", 3))
    assert await noted(bench) == ["cup 1"]
    assert await states(bench) == [("mug", "retrying"), *[("mug", "parked")] * 3]
    faults.of.clear()
    bench.clock.advance(1)
    await settle(bench)
    assert await noted(bench, "mug") == ["1", "2", "product.deleted", "3"]
    assert (await kept(bench), await lines(bench)) == ([], [])


async def test_followers_in_the_failed_messages_own_batch_wait_too(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug 2"] = broken()
    await bench.hear(level("mug", 1), level("cup", 1), level("mug", 2), level("cup", 2), level("mug", 3))
    assert await noted(bench) == ["mug 1", "cup 1", "cup 2"]
    assert await states(bench) == [("mug", "retrying"), ("mug", "parked")]


async def test_a_batch_that_fails_parks_nothing_twice(bench: ServiceBench, faults: Faults) -> None:
    faults.of = {"mug 1": broken(), "cup 1": broken()}
    await bench.hear(level("mug", 1))
    await bench.hear(level("mug", 2), level("cup", 1), level("mug", 3), level("pan", 1))
    assert await states(bench) == [("mug", "retrying"), ("mug", "parked"), ("cup", "retrying"), ("mug", "parked")]
    assert await noted(bench) == ["pan 1"]


async def test_the_same_key_of_another_kind_of_thing_does_not_wait(bench: ServiceBench, faults: Faults) -> None:
    faults.of["7 1"] = broken()
    await bench.hear(level("7", 1))
    await bench.hear(OrderDelivered(order_id="7"))
    assert await noted(bench) == ["7 order.delivered"]


async def test_two_things_of_one_key_have_a_line_each(bench: ServiceBench, faults: Faults) -> None:
    faults.of["7"] = broken()
    await bench.hear(level("7", 1), OrderDelivered(order_id="7"))
    await bench.hear(level("7", 2))
    assert [(row["topic"], row["state"], row["position"]) for row in await kept(bench)] == [
        ("stock.updated", "retrying", 1),
        ("order.delivered", "retrying", 1),
        ("stock.updated", "parked", 2),
    ]


async def test_what_waits_behind_a_dead_letter_waits_for_a_person(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug 1"] = broken()
    await bench.hear(level("mug", 1), level("mug", 2))
    await give_up(bench)
    assert await states(bench) == [("mug", "dead"), ("mug", "parked")]
    faults.of.clear()
    await give_up(bench)
    assert await noted(bench) == []
    dead, _ = await kept(bench)
    await desk_of(bench).discard(dead["id"], who="ada", reason="it was counted twice")
    await settle(bench)
    assert await noted(bench) == ["mug 2"]
    assert (await states(bench), await lines(bench)) == ([("mug", "discarded")], [])


async def test_a_follower_that_fails_holds_up_those_behind_it(bench: ServiceBench, faults: Faults) -> None:
    faults.of = {"mug 1": broken(), "mug 2": broken()}
    await bench.hear(level("mug", 1), level("mug", 2), level("mug", 3))
    del faults.of["mug 1"]
    bench.clock.advance(1)
    await settle(bench)
    assert await noted(bench) == ["mug 1"]
    assert await states(bench) == [("mug", "retrying"), ("mug", "parked")]
    await bench.hear(level("mug", 4))
    faults.of.clear()
    await give_up(bench)
    assert await noted(bench, "mug") == ["1", "2", "3", "4"]


async def test_a_message_that_came_too_early_holds_nobody_up(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug 2"] = TryLater("the mug is not known yet")
    await bench.hear(level("mug", 2), level("mug", 1))
    assert await noted(bench) == ["mug 1"]
    faults.of.clear()
    bench.clock.advance(1)
    await settle(bench)
    assert await noted(bench) == ["mug 1", "mug 2"]


async def test_a_message_that_nobody_can_read_holds_nobody_up(bench: ServiceBench, faults: Faults) -> None:
    message = encode(level("mug"), id="m-1", source="/x", time=bench.clock.now())
    await bench.runtime.consumer.hear([Delivery(message.topic, "mug", message.headers(), b"nonsense", None)])
    faults.of["mug 1"] = MalformedMessage("no such unit of measure")
    await bench.hear(level("mug", 1), level("mug", 2))
    assert await noted(bench) == ["mug 2"]
    assert await states(bench) == [("mug", "dead")] * 2


async def test_what_comes_again_while_it_is_kept_is_not_kept_twice(bench: ServiceBench, faults: Faults) -> None:
    before = await bench.hear(level("mug", 0))
    faults.of["mug 1"] = broken()
    messages = await bench.hear(level("mug", 1), level("mug", 2))
    await bench.hear_again(*before, *messages, *messages)
    assert await states(bench) == [("mug", "retrying"), ("mug", "parked")]
    faults.of.clear()
    await give_up(bench)
    await bench.hear_again(*messages)
    assert await noted(bench, "mug") == ["0", "1", "2"]


async def test_messages_without_a_key_wait_only_for_their_own_thing(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug 1"] = broken()
    for number, product in enumerate(["mug", "cup", "mug"], start=1):
        message = encode(level(product, number), id=f"m-{number}", source="/x", time=bench.clock.now())
        headers = {**message.headers(), "ce_subject": ""}
        await bench.runtime.consumer.hear([Delivery(message.topic, "", headers, message.body, None)])
    assert await noted(bench) == ["cup 2"]
    assert await states(bench) == [("mug", "retrying"), ("mug", "parked")]


@pytest.mark.parametrize("key", ["m" * 250, "a\x00b"], ids=["long", "with a zero byte"])
async def test_no_key_is_too_odd_to_be_kept_or_to_hold_its_followers_up(
    bench: ServiceBench, faults: Faults, key: str
) -> None:
    faults.of["mug 1"] = broken(f"never heard of {key}")
    for number in (1, 2):
        message = encode(level("mug", number), id=f"m-{number}", source="/x", time=bench.clock.now())
        await bench.runtime.consumer.hear([Delivery(message.topic, key, message.headers(), message.body, None)])
    assert [row["state"] for row in await kept(bench)] == ["retrying", "parked"]
    faults.of.clear()
    await give_up(bench)
    assert await noted(bench, "mug") == ["1", "2"]


async def test_while_nothing_is_kept_a_batch_costs_no_statement_more(bench: ServiceBench) -> None:
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        await bench.hear(*[level(f"p-{number}") for number in range(50)])
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    looks = [statement for statement in asked if "kept_" in statement]
    assert [look.split(" (")[0] for look in looks] == ["INSERT INTO inbox"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_nobody_joins_a_line_that_is_just_being_given_up(
    bench: ServiceBench, faults: Faults, tmp_path: Path
) -> None:
    faults.of["mug 1"] = broken()
    await bench.hear(level("mug", 1))
    [letter] = await kept(bench)
    given_up = asyncio.Event()

    def give_up_and_wait_for_somebody(connection: sa.Connection) -> None:
        found = store.take(connection, letter["id"])
        assert found is not None
        store.resolve(connection, found, bench.clock.now())
        given_up.set()
        while connection.exec_driver_sql("SELECT 1 FROM pg_locks WHERE NOT granted").first() is None:
            connection.exec_driver_sql("SELECT pg_sleep(0.01)")

    async with listening(tmp_path, faults, seed=1) as replica:
        giving_up = asyncio.create_task(bench.runtime.database.write(give_up_and_wait_for_somebody))
        async with asyncio.timeout(30):
            await given_up.wait()
            await replica.hear(level("mug", 2))
            await giving_up
    assert (await noted(bench), await kept(bench), await lines(bench)) == (["mug 2"], [], [])


async def test_two_replicas_tell_every_story_once_and_in_order(
    bench: ServiceBench, faults: Faults, tmp_path: Path
) -> None:
    products = [f"p-{number}" for number in range(8)]
    faults.of = {f"{product} 0": broken() for product in products}
    async with listening(tmp_path, faults, seed=1) as replica:
        await bench.hear(*[level(product, 0) for product in products])
        faults.of.clear()

        async def hear_on() -> None:
            for quantity in range(1, 6):
                await replica.hear(*[level(product, quantity) for product in products])

        async def retry() -> None:
            for _ in range(30):
                bench.clock.advance(1)
                await bench.retry_kept()

        await asyncio.gather(hear_on(), retry())
        await settle(bench)
        replica.clock.advance(100)
        await asyncio.gather(settle(replica), settle(bench))
    assert {product: await noted(bench, product) for product in products} == {
        product: [str(quantity) for quantity in range(6)] for product in products
    }
    assert (await kept(bench), await lines(bench)) == ([], [])
