"""What staff do with dead letters: look, replay, try out, discard; and the record of it. On SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orderwright.contracts.shipping import OrderDelivered
from orderwright.kernel.deadletters.audit import DISCARD, REPLAY
from orderwright.kernel.deadletters.reading import Selection
from orderwright.kernel.errors import Conflict, MalformedMessage, NotFound, TryLater
from orderwright.kernel.messages import Message
from orderwright.kernel.tables import dead_letter_actions, inbox, outbox
from orderwright.kernel.testing import ServiceBench
from tests.kernel.letters import (
    Faults,
    broken,
    desk_of,
    give_up,
    kept,
    level,
    listening,
    noted,
    own_desk,
    settle,
    states,
    until_dead,
)

pytestmark = pytest.mark.usefixtures("database_url")

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def bench(tmp_path: Path, faults: Faults) -> AsyncIterator[ServiceBench]:
    async with listening(tmp_path, faults) as opened:
        yield opened


async def everything(bench: ServiceBench) -> list[list[dict[str, Any]]]:
    """All that a dry run must leave alone."""
    tables = (inbox, outbox, dead_letter_actions)
    rows = [await bench.rows(sa.select(table).order_by(*table.primary_key.columns)) for table in tables]
    return [await kept(bench), *rows]


async def dead_mug(bench: ServiceBench, faults: Faults) -> tuple[str, Message]:
    """A dead letter about a mug: its id, and the message."""
    faults.of["mug"] = broken()
    [message] = await until_dead(bench, level("mug"))
    [letter] = await kept(bench)
    return letter["id"], message


async def test_a_replay_handles_it_now_and_tells_what_was_said(bench: ServiceBench, faults: Faults) -> None:
    letter, message = await dead_mug(bench, faults)
    faults.of.clear()
    done = await desk_of(bench).replay(letter, who="ada")
    assert (done.outcome, [said.name for said in done.said]) == ("handled", ["ProductDeleted"])
    assert [event.key for event in bench.take_said()] == ["mug"]
    await bench.hear_again(message)
    assert await noted(bench) == ["mug 1"]


async def test_a_replay_that_fails_again_is_an_attempt_more_and_stays_dead(bench: ServiceBench, faults: Faults) -> None:
    letter, _ = await dead_mug(bench, faults)
    faults.of["mug"] = broken("now it is flooded")
    done = await desk_of(bench).replay(letter, who="ada")
    assert (done.outcome, done.detail) == ("failed", "RuntimeError: now it is flooded")
    history = await desk_of(bench).shown(letter)
    assert (history.kept.state, history.kept.attempts, history.kept.error) == ("dead", 9, done.detail)
    assert [number for number, _, _ in history.attempts] == list(range(1, 10))
    await give_up(bench)
    assert await noted(bench) == []


async def test_a_dry_run_tells_what_would_be_said_and_changes_nothing(bench: ServiceBench, faults: Faults) -> None:
    letter, _ = await dead_mug(bench, faults)
    faults.of.clear()
    before = await everything(bench)
    for _ in range(2):
        would = await desk_of(bench).replay(letter, who="ada", dry_run=True)
        assert (would.outcome, [(said.name, said.key) for said in would.said]) == (
            "handled",
            [("ProductDeleted", "mug")],
        )
    assert (await everything(bench), await noted(bench), bench.take_said()) == (before, [], [])


async def test_a_dry_run_tells_the_error_that_would_be_met(bench: ServiceBench, faults: Faults) -> None:
    letter, _ = await dead_mug(bench, faults)
    before = await everything(bench)
    would = await desk_of(bench).replay(letter, who="ada", dry_run=True)
    assert (would.outcome, would.detail) == ("failed", "RuntimeError: the warehouse is on fire")
    assert await everything(bench) == before


async def test_what_the_inbox_knows_is_told_and_not_handled_again(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug"] = TryLater("too early")
    [message] = await until_dead(bench, level("mug"))
    faults.of.clear()
    await bench.hear_again(message)
    [letter] = await kept(bench)
    would = await desk_of(bench).replay(letter["id"], who="ada", dry_run=True)
    done = await desk_of(bench).replay(letter["id"], who="ada")
    assert {would.outcome, done.outcome} == {"already_handled"}
    assert done.detail == "The inbox knows it: it was handled before"
    assert (await noted(bench), await states(bench)) == (["mug 1"], [("mug", "handled")])


@pytest.mark.parametrize("error", [broken(), TryLater("too early")], ids=["holds a line", "holds none"])
async def test_replayed_by_two_processes_at_once_it_acts_once(
    bench: ServiceBench, faults: Faults, tmp_path: Path, error: Exception
) -> None:
    faults.of["mug"] = error
    await until_dead(bench, level("mug"))
    letter = (await kept(bench))[0]["id"]
    faults.of.clear()
    async with listening(tmp_path, faults, seed=1) as other:
        desks = [desk_of(bench), own_desk(bench, faults), desk_of(other), own_desk(other, faults)]
        done = await asyncio.gather(*(desk.replay(letter, who=f"user {i}") for i, desk in enumerate(desks)))
    assert sorted(one.outcome for one in done) == [*["already_handled"] * 3, "handled"]
    assert await noted(bench) == ["mug 1"]
    assert [row["type"] for row in await bench.rows(sa.select(outbox))] == ["ProductDeleted"]


async def test_a_person_and_the_clock_trying_at_once_act_once(
    bench: ServiceBench, faults: Faults, tmp_path: Path
) -> None:
    faults.of["mug"] = broken()
    await bench.hear(level("mug"))
    faults.of.clear()
    [letter] = await kept(bench)
    bench.clock.advance(1)
    async with listening(tmp_path, faults, seed=1) as other:
        done, _ = await asyncio.gather(desk_of(other).replay(letter["id"], who="ada"), bench.retry_kept())
    assert done.outcome in {"handled", "gone"}
    assert await noted(bench) == ["mug 1"]


async def test_a_parked_message_is_not_replayed_before_its_turn(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug 1"] = broken()
    await until_dead(bench, level("mug", 1), level("mug", 2))
    dead, parked = await kept(bench)
    done = await desk_of(bench).replay(parked["id"], who="ada")
    assert (done.outcome, await noted(bench)) == ("parked", [])
    history = await desk_of(bench).shown(parked["id"])
    assert (history.waits_behind, (await desk_of(bench).shown(dead["id"])).waiting) == (dead["id"], 1)


async def test_many_are_replayed_by_topic_or_key_the_oldest_first(bench: ServiceBench, faults: Faults) -> None:
    faults.of = {key: broken() for key in ("mug", "cup", "o-1")}
    await until_dead(bench, level("mug"), level("cup"), OrderDelivered(order_id="o-1"))
    faults.of.clear()
    desk = desk_of(bench)

    async def of(topic: str | None, key: str | None) -> list[str]:
        ids = await desk.select(topic, key, after=None, limit=10)
        return [(await desk.shown(letter)).kept.key for letter in ids]

    assert await of(None, None) == ["mug", "cup", "o-1"]
    assert await of("stock.updated", None) == ["mug", "cup"]
    assert await of("stock.updated", "cup") == ["cup"]
    levels = await desk.select("stock.updated", None, after=None, limit=10)
    done = await desk.replay_many([*levels, "nobody"], who="ada")
    assert [one.outcome for one in done] == ["handled", "handled", "gone"]
    assert await noted(bench) == ["mug 1", "cup 1"]


async def test_what_was_discarded_is_never_handled_until_somebody_thinks_better_of_it(
    bench: ServiceBench, faults: Faults
) -> None:
    letter, message = await dead_mug(bench, faults)
    faults.of.clear()
    desk = desk_of(bench)
    await desk.discard(letter, who="ada", reason="counted twice")
    await bench.hear_again(message)
    await give_up(bench)
    assert (await noted(bench), await states(bench)) == ([], [("mug", "discarded")])
    with pytest.raises(Conflict, match="is discarded"):
        await desk.discard(letter, who="bob", reason="again")
    assert (await desk.replay(letter, who="bob")).outcome == "handled"
    await bench.hear_again(message)
    assert (await noted(bench), await states(bench)) == (["mug 1"], [("mug", "handled")])


async def test_what_nobody_can_read_can_be_discarded_too(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug"] = MalformedMessage("no such unit")
    await bench.hear(level("mug"))
    [letter] = await kept(bench)
    history = await desk_of(bench).discard(letter["id"], who="ada", reason="their mistake")
    assert history.kept.state == "discarded"


async def test_who_did_what_is_written_down(bench: ServiceBench, faults: Faults) -> None:
    letter, _ = await dead_mug(bench, faults)
    desk = desk_of(bench)
    await desk.replay(letter, who="ada")
    bench.clock.advance(60)
    await desk.replay(letter, who="ada", dry_run=True)
    await desk.discard(letter, who="bob", reason="counted twice")
    acts = (await desk.shown(letter)).acts
    assert [(act.who, act.action, act.reason, act.outcome) for act in acts] == [
        ("ada", REPLAY, None, "failed: RuntimeError: the warehouse is on fire"),
        ("bob", DISCARD, "counted twice", "discarded"),
    ]
    assert acts[1].at - acts[0].at == timedelta(seconds=60)


async def test_the_record_outlives_the_message_and_the_message_goes_after_a_while(
    bench: ServiceBench, faults: Faults
) -> None:
    letter, _ = await dead_mug(bench, faults)
    desk = desk_of(bench)
    await desk.discard(letter, who="ada", reason="counted twice")
    bench.clock.advance(29 * 86_400)
    await bench.runtime._keep_house()
    assert await states(bench) == [("mug", "discarded")]
    bench.clock.advance(2 * 86_400)
    await bench.runtime._keep_house()
    assert await states(bench) == []
    assert [row["who"] for row in await bench.rows(sa.select(dead_letter_actions))] == ["ada"]
    with pytest.raises(NotFound):
        await desk.shown(letter)


async def test_it_is_shown_with_its_order_its_trace_and_every_attempt(bench: ServiceBench, faults: Faults) -> None:
    faults.of["o-1"] = broken()
    began = bench.clock.now()
    await bench.hear(OrderDelivered(order_id="o-1"), traceparent=TRACE)
    bench.clock.advance(1)
    faults.of["o-1"] = broken("still burning")
    await settle(bench)
    [letter] = await kept(bench)
    answer = await bench.request("GET", f"/dead-letters/{letter['id']}", roles=("staff",))
    told = answer.json
    assert (told["event"], told["topic"], told["order_id"]) == ("OrderDelivered", "order.delivered", "o-1")
    assert told["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert [(attempt["number"], attempt["error"]) for attempt in told["history"]] == [
        (1, "RuntimeError: the warehouse is on fire"),
        (2, "RuntimeError: still burning"),
    ]
    assert told["history"][0]["at"].startswith(began.strftime("%Y-%m-%dT%H:%M"))
    assert (told["state"], told["next_attempt_at"] is not None) == ("retrying", True)


async def test_lists_are_narrowed_and_paged(bench: ServiceBench, faults: Faults) -> None:
    faults.of = {f"p-{number}": broken() for number in range(5)} | {"o-1": broken()}
    await until_dead(bench, *[level(f"p-{number}") for number in range(5)], OrderDelivered(order_id="o-1"))
    await bench.hear(level("p-0", 2))
    desk = desk_of(bench)

    async def keys(selection: Selection, before: str | None = None, limit: int = 10) -> list[str]:
        return [letter.key for letter in await desk.listed(selection, before=before, limit=limit)]

    assert await keys(Selection()) == ["p-0", "o-1", "p-4", "p-3", "p-2", "p-1", "p-0"]
    assert await keys(Selection(("parked",))) == ["p-0"]
    assert await keys(Selection(topic="order.delivered")) == ["o-1"]
    assert await keys(Selection(key="p-0")) == ["p-0", "p-0"]
    first = await desk.listed(Selection(("dead",)), before=None, limit=4)
    assert await keys(Selection(("dead",)), before=first[-1].id) == ["p-1", "p-0"]
