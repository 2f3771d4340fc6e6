"""What is sent again to another replica, or on another connection, and what never is."""

import asyncio
import io
from typing import Any

import msgspec
import pytest

from orderwright.kernel.edge import OVERLOADED
from orderwright.kernel.errors import Malformed, Unavailable
from orderwright.kernel.peers import Peers, request_once
from orderwright.kernel.replicas import Patience
from orderwright.kernel.telemetry import configure_logs
from tests.kernel.machines import Fleet, Mood, until


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("HEAD", {}),
        ("PUT", {}),
        ("DELETE", {}),
        ("POST", {"idempotency-key": "k-1"}),
    ],
)
async def test_what_is_harmless_to_repeat_is_sent_to_another_replica_once(method: str, headers: dict[str, str]) -> None:
    async with Fleet(3).running() as fleet:
        for machine in fleet.machines:
            machine.mood = Mood.RESETTING
        with pytest.raises(Unavailable, match="same Idempotency-Key"):
            await fleet.ask(method, headers=headers)
        assert sorted(len(machine.heard) for machine in fleet.machines) == [0, 1, 1]
        assert fleet.counted("orderwright_requests_retried_total") == 1


@pytest.mark.parametrize(("method", "headers"), [("POST", {}), ("PATCH", {}), ("PUT", {"if-match": '"1"'})])
async def test_what_may_have_been_done_and_is_not_harmless_is_never_sent_again(
    method: str, headers: dict[str, str]
) -> None:
    async with Fleet(3).running() as fleet:
        for machine in fleet.machines:
            machine.mood = Mood.RESETTING
        with pytest.raises(Unavailable):
            await fleet.ask(method, headers=headers)
        assert sum(len(machine.heard) for machine in fleet.machines) == 1


async def test_a_503_of_one_is_answered_by_another_and_a_503_of_all_is_passed_on() -> None:
    async with Fleet(2).running() as fleet:
        busy, well = fleet.machines
        busy.mood = Mood.BUSY
        assert [(await fleet.ask()).status for _ in range(10)] == [200] * 10
        assert busy.heard
        well.mood = Mood.BUSY
        assert (await fleet.ask()).status == 503


async def test_one_that_has_no_room_is_neither_left_out_nor_taken_for_failing() -> None:
    async with Fleet(1).running() as fleet:
        fleet.machines[0].mood = Mood.FULL
        for _ in range(10):
            state: dict[str, Any] = {}
            assert (await fleet.ask("POST", state=state)).status == 503
            assert (OVERLOADED in state, fleet.left_out) == (True, 0)
        fleet.machines[0].mood = Mood.BUSY
        assert (await fleet.ask("POST", state=state)).status == 503
        assert OVERLOADED not in state


async def test_an_outage_is_not_multiplied() -> None:
    async with Fleet(2).running() as fleet:
        for machine in fleet.machines:
            machine.mood = Mood.BUSY
        for _ in range(100):
            await fleet.ask()
        assert 100 < sum(len(machine.heard) for machine in fleet.machines) < 125


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_was_closed_while_it_was_idle_is_not_noticed(method: str) -> None:
    async with Fleet(1).running() as fleet:
        machine = fleet.machines[0]
        for count in range(1, 4):
            assert (await fleet.ask(method)).status == 200
            assert (len(machine.heard), machine.connections) == (count, count)
            machine.close_idle()
            await until(lambda: not machine.is_connected)


async def test_a_connection_that_is_closed_as_the_request_comes_is_replaced_if_the_request_is_harmless() -> None:
    async with Fleet(1).running() as fleet:
        machine = fleet.machines[0]
        await fleet.ask()
        machine.mood = Mood.CLOSING_OLD
        assert (await fleet.ask()).status == 200
        assert machine.heard == ["GET /orders"] * 3
        await fleet.ask()
        assert machine.connections == 3
        before = len(machine.heard)
        with pytest.raises(Unavailable, match="may have done"):
            await fleet.ask("POST")
        assert len(machine.heard) == before + 1
        assert fleet.left_out == 0


async def test_an_answer_that_breaks_off_is_not_passed_on_as_a_whole_one() -> None:
    async with Fleet(1).running() as fleet:
        fleet.machines[0].mood = Mood.HALVING
        with pytest.raises(Unavailable, match="broke its answer off"):
            await fleet.ask()
        assert len(fleet.machines[0].heard) == 1


async def test_a_header_that_http_does_not_know_is_the_callers_fault() -> None:
    async with Fleet(1).running() as fleet:
        with pytest.raises(Malformed):
            await fleet.ask(headers={"x": "a\nb"})
        assert (fleet.machines[0].heard, fleet.left_out) == ([], 0)


async def test_an_answer_that_is_no_http_is_not_asked_for_again_as_if_the_connection_had_been_stale() -> None:
    async with Fleet(1).running() as fleet:
        await fleet.ask()
        fleet.machines[0].mood = Mood.BABBLING
        with pytest.raises(Unavailable):
            await fleet.ask()
        assert len(fleet.machines[0].heard) == 2


@pytest.mark.parametrize("target", ["@127.0.0.2/orders", ":1/orders", "orders", "*"])
async def test_a_target_that_would_change_the_host_is_the_callers_fault(target: str) -> None:
    async with Fleet(1).running() as fleet:
        with pytest.raises(Malformed):
            await request_once(fleet.peer, "GET", target, headers={}, body=b"")
        assert (fleet.machines[0].heard, fleet.left_out) == ([], 0)


async def test_a_path_that_begins_with_two_slashes_stays_with_its_replica() -> None:
    async with Fleet(1).running() as fleet:
        await request_once(fleet.peer, "GET", "//127.0.0.2:1/orders", query="a=%2F&b=?", headers={}, body=b"")
        assert fleet.machines[0].heard == ["GET //127.0.0.2:1/orders?a=%2F&b=?"]


async def test_who_asks_through_peers_gets_an_answer_although_one_replica_hangs() -> None:
    async with Fleet(2).running(Patience()) as fleet:
        hanging, well = fleet.machines
        peers = Peers(lambda _: fleet.peer, fleet.clock, fleet.ids, metrics=fleet.metrics)
        hanging.mood = Mood.HANGING
        answers = await asyncio.gather(*(peers.ask("order", "GET", "/orders", anonymous=True) for _ in range(6)))
        assert [answer.status for answer in answers] == [200] * 6
        assert (bool(hanging.heard), len(well.heard)) == (True, 6)


@pytest.mark.parametrize("mood", [Mood.RESETTING, Mood.HANGING])
async def test_many_failures_of_one_replica_do_not_open_the_breaker_of_its_service(mood: Mood) -> None:
    async with Fleet(2).running(Patience()) as fleet:
        bad, _ = fleet.machines
        peers = Peers(lambda _: fleet.peer, fleet.clock, fleet.ids, metrics=fleet.metrics)
        bad.mood = mood
        asking = [
            asyncio.create_task(peers.ask("order", "POST", "/orders", anonymous=True, safe=False)) for _ in range(40)
        ]
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) >= 5
        assert peers.breaker("order").snapshot()["failures"] < 5
        assert (await peers.ask("order", "GET", "/orders", anonymous=True)).status == 200


async def test_failures_of_all_replicas_open_it() -> None:
    async with Fleet(2).running() as fleet:
        peers = Peers(lambda _: fleet.peer, fleet.clock, fleet.ids, caller="gateway", metrics=fleet.metrics)
        for machine in fleet.machines:
            await machine.kill()
        log = io.StringIO()
        configure_logs(form="json", level="info", stream=log)
        for _ in range(5):
            with pytest.raises(Unavailable):
                await peers.ask("order", "POST", "/orders", anonymous=True, safe=False)
        lines = [msgspec.json.decode(line) for line in log.getvalue().splitlines()]
        assert [(line["event"], line.get("state") or line.get("condition")) for line in lines] == [
            ("replica_left_out", "out"),
            ("replica_left_out", "out"),
            ("breaker_changed", "open"),
        ]
        assert fleet.counted("orderwright_breaker_open", caller="gateway") == 1
        for machine in fleet.machines:
            await machine.open()
        fleet.clock.advance(5)
        assert (await peers.ask("order", "GET", "/orders", anonymous=True)).status == 200
        assert fleet.counted("orderwright_breaker_open", caller="gateway") == 0
