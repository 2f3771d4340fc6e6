"""The staff API of dead letters: the same at every service that hears anything."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orderwright.kernel.deadletters.api import AT_ONCE
from orderwright.kernel.testing import BenchAnswer, ServiceBench
from tests.kernel.letters import Faults, broken, kept, level, listening, noted, settle, states, until_dead

NOBODY = "019b0000-0000-7000-8000-000000000000"


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def bench(tmp_path: Path, faults: Faults) -> AsyncIterator[ServiceBench]:
    async with listening(tmp_path, faults) as opened:
        yield opened


async def staff(bench: ServiceBench, method: str, path: str, json: Any = None, *, query: str = "") -> BenchAnswer:
    """As a member of the staff."""
    return await bench.request(method, path, json, query=query, caller="ada", roles=("staff",))


async def test_a_dead_letter_is_found_tried_out_replayed_and_remembered(bench: ServiceBench, faults: Faults) -> None:
    faults.of["mug"] = broken()
    await until_dead(bench, level("mug"))
    [listed] = (await staff(bench, "GET", "/dead-letters", query="state=dead&topic=stock.updated&key=mug")).json[
        "items"
    ]
    assert (listed["event"], listed["attempts"], listed["order_id"]) == ("StockUpdated", 8, None)
    path = f"/dead-letters/{listed['id']}"
    would = await staff(bench, "POST", f"{path}/replay", {"dry_run": True})
    assert (would.status, would.json["outcome"], would.json["dry_run"]) == (200, "failed", True)
    faults.of.clear()
    would = await staff(bench, "POST", f"{path}/replay", {"dry_run": True})
    said = {"event": "ProductDeleted", "topic": "product.deleted", "key": "mug", "payload": {"productId": "mug"}}
    assert (would.json["outcome"], would.json["said"]) == ("handled", [said])
    assert await noted(bench) == []
    for outcome in ("handled", "already_handled"):
        done = await staff(bench, "POST", f"{path}/replay", {})
        assert (done.status, done.json["outcome"]) == (200, outcome)
    assert await noted(bench) == ["mug 1"]
    told = (await staff(bench, "GET", path)).json
    assert [(act["who"], act["outcome"]) for act in told["actions"]] == [("ada", "handled"), ("ada", "already_handled")]
    assert (await staff(bench, "GET", "/dead-letters")).json == {"items": [], "next_cursor": None}


async def test_a_message_is_discarded_with_a_reason_and_its_followers_go_on(
    bench: ServiceBench, faults: Faults
) -> None:
    faults.of["mug 1"] = broken()
    await until_dead(bench, level("mug", 1), level("mug", 2))
    dead, _ = await kept(bench)
    path = f"/dead-letters/{dead['id']}"
    told = (await staff(bench, "GET", path)).json
    assert told["waiting_behind"] == 1
    assert (await staff(bench, "POST", f"{path}/discard", {})).status == 422
    done = await staff(bench, "POST", f"{path}/discard", {"reason": "counted twice"})
    assert (done.status, done.json["state"], done.json["actions"][0]["reason"]) == (200, "discarded", "counted twice")
    await settle(bench)
    assert await noted(bench) == ["mug 2"]
    assert (await staff(bench, "POST", f"{path}/discard", {"reason": "again"})).status == 409


async def test_many_are_replayed_page_by_page(bench: ServiceBench, faults: Faults) -> None:
    products = [f"p-{number:02}" for number in range(AT_ONCE + 1)]
    faults.of = {product: broken() for product in products}
    for product in products:
        # One at a time, or so many in a row would stop the consumer.
        await bench.hear(level(product))
    for _ in range(8):
        bench.clock.advance(400)
        await settle(bench)
    faults.of = {"p-01": broken()}
    first = (await staff(bench, "POST", "/dead-letters/replay", {"topic": "stock.updated"})).json
    outcomes = [result["outcome"] for result in first["items"]]
    assert (outcomes[:3], len(outcomes)) == (["handled", "failed", "handled"], AT_ONCE)
    rest = (
        await staff(bench, "POST", "/dead-letters/replay", {"topic": "stock.updated", "cursor": first["next_cursor"]})
    ).json
    assert ([result["outcome"] for result in rest["items"]], rest["next_cursor"]) == (["handled"], None)
    assert await noted(bench) == [f"{product} 1" for product in products if product != "p-01"]


@pytest.mark.parametrize(
    ("chosen", "outcomes"),
    [
        ({"key": "mug"}, ["handled"]),
        ({"topic": "product.deleted"}, []),
        ({"topic": "stock.updated", "key": "cup"}, ["handled"]),
        ({"all": True}, ["handled", "handled"]),
        ({"ids": [NOBODY]}, ["gone"]),
    ],
)
async def test_a_dry_run_of_many_names_those_that_a_replay_would_take(
    bench: ServiceBench, faults: Faults, chosen: dict[str, Any], outcomes: list[str]
) -> None:
    faults.of = {"mug": broken(), "cup": broken()}
    await until_dead(bench, level("mug"), level("cup"))
    faults.of.clear()
    would = (await staff(bench, "POST", "/dead-letters/replay", {**chosen, "dry_run": True})).json
    assert [result["outcome"] for result in would["items"]] == outcomes
    assert (await noted(bench), await states(bench)) == ([], [("mug", "dead"), ("cup", "dead")])
    done = (await staff(bench, "POST", "/dead-letters/replay", chosen)).json
    assert [result["outcome"] for result in done["items"]] == outcomes


async def test_lists_are_paged_by_cursor(bench: ServiceBench, faults: Faults) -> None:
    faults.of = {f"p-{number}": broken() for number in range(5)}
    await until_dead(bench, *[level(f"p-{number}") for number in range(5)])
    keys: list[str] = []
    query = "limit=2"
    while True:
        page = (await staff(bench, "GET", "/dead-letters", query=query)).json
        keys += [letter["key"] for letter in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=2&cursor={page['next_cursor']}"
    assert keys == ["p-4", "p-3", "p-2", "p-1", "p-0"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/dead-letters?state=lost", None, 422),
        ("GET", "/dead-letters?key=%00", None, 422),
        ("GET", "/dead-letters?cursor=1", None, 400),
        ("GET", f"/dead-letters/{NOBODY}", None, 404),
        ("GET", "/dead-letters/nobody", None, 404),
        ("POST", f"/dead-letters/{NOBODY}/replay", {}, 404),
        ("POST", f"/dead-letters/{NOBODY}/replay", {"dry_run": "perhaps"}, 422),
        ("POST", f"/dead-letters/{NOBODY}/discard", {"reason": "x"}, 404),
        ("POST", f"/dead-letters/{NOBODY}/discard", {"reason": ""}, 422),
        ("POST", "/dead-letters/replay", {}, 422),
        ("POST", "/dead-letters/replay", {"all": True, "key": "mug"}, 422),
        ("POST", "/dead-letters/replay", {"all": False}, 422),
        ("POST", "/dead-letters/replay", {"all": True, "cursor": "1"}, 400),
    ],
)
async def test_what_makes_no_sense_is_refused(
    bench: ServiceBench, method: str, path: str, body: Any, status: int
) -> None:
    path, _, query = path.partition("?")
    assert (await staff(bench, method, path, body, query=query)).status == status


@pytest.mark.parametrize(("roles", "status"), [((), 401), (("customer",), 403), (("service",), 403), (("admin",), 200)])
async def test_only_staff_get_in(bench: ServiceBench, roles: tuple[str, ...], status: int) -> None:
    assert (await bench.request("GET", "/dead-letters", roles=roles)).status == status
    replayed = await bench.request("POST", "/dead-letters/replay", {"all": True}, roles=roles)
    assert replayed.status == status
