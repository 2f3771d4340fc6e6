"""A service with several replicas behind real sockets: spread, left out, tried again, back."""

import asyncio
from typing import Any

import pytest

from orderwright.kernel.errors import Unavailable
from orderwright.kernel.peers import FAULT_OF_ONE
from orderwright.kernel.replicas import Patience
from tests.kernel.machines import Fleet, Mood, until

HASTY = Patience(doubt_after_s=0.05, check_s=0.2, check_again_s=0)
"""For machines that do not answer anyway; others might not be quick enough for it on a busy computer."""


async def test_requests_are_spread() -> None:
    async with Fleet(3).running() as fleet:
        for _ in range(90):
            await fleet.ask()
        assert all(len(machine.heard) > 15 for machine in fleet.machines)
        assert fleet.counted("orderwright_replicas") == 3


async def test_who_is_busy_gets_less() -> None:
    async with Fleet(2).running(Patience(doubt_after_s=60)) as fleet:
        slow, quick = fleet.machines
        slow.mood = Mood.SLOW
        stuck = [asyncio.create_task(fleet.ask("POST")) for _ in range(6)]
        await until(lambda: len(slow.heard) + len(quick.heard) == 6 and fleet.peer.replicas.known[1].outstanding == 0)
        before = len(slow.heard)
        for _ in range(20):
            await fleet.ask()
        assert len(slow.heard) == before
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_replica_that_is_gone_is_not_noticed_whatever_the_method(method: str) -> None:
    async with Fleet(2).running() as fleet:
        gone, well = fleet.machines
        await gone.kill()
        for _ in range(30):
            assert (await fleet.ask(method)).status == 200
        assert (len(gone.heard), len(well.heard)) == (0, 30)
        assert (fleet.left_out, fleet.counted("orderwright_requests_retried_total")) == (1, 1)


async def test_a_replica_that_was_gone_comes_back_by_itself() -> None:
    async with Fleet(2).running() as fleet:
        gone, _ = fleet.machines
        await gone.kill()
        await fleet.asked_until(lambda: fleet.left_out == 1)
        fleet.clock.advance(30)
        await fleet.ask()
        await until(lambda: fleet.peer.replicas.known[0].check is None)
        assert fleet.left_out == 1
        await gone.open()
        fleet.clock.advance(30)
        await fleet.asked_until(lambda: bool(gone.heard))
        assert fleet.left_out == 0


async def test_a_replica_that_hangs_is_left_out_and_reads_are_moved_away_from_it() -> None:
    async with Fleet(2).running() as fleet:
        hanging, well = fleet.machines
        hanging.mood = Mood.HANGING
        answers = await asyncio.gather(*(fleet.ask() for _ in range(8)))
        assert [answer.status for answer in answers] == [200] * 8
        assert (bool(hanging.heard), len(well.heard), fleet.left_out) == (True, 8, 1)
        before = len(hanging.heard)
        for _ in range(10):
            await fleet.ask()
        assert len(hanging.heard) == before


async def test_a_replica_that_is_only_slow_is_waited_for() -> None:
    async with Fleet(2).running() as fleet:
        for machine in fleet.machines:
            machine.mood = Mood.SLOW
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await fleet.ask()
        assert fleet.left_out == 0
        assert sum(len(machine.heard) for machine in fleet.machines) == 1


async def test_a_replica_that_is_not_ready_is_left_out_until_it_is() -> None:
    async with Fleet(2).running() as fleet:
        unready, _ = fleet.machines
        unready.mood = Mood.NOT_READY
        while not unready.heard:
            assert (await fleet.ask()).status == 200
        await until(lambda: fleet.left_out == 1)
        before = len(unready.heard)
        assert before == 1
        for _ in range(20):
            assert (await fleet.ask("POST")).status == 200
        assert len(unready.heard) == before
        unready.mood = Mood.WELL
        fleet.clock.advance(30)
        await fleet.asked_until(lambda: len(unready.heard) > before)
        assert fleet.left_out == 0


async def test_when_no_replica_is_ready_they_answer_for_themselves() -> None:
    async with Fleet(2).running() as fleet:
        for machine in fleet.machines:
            machine.mood = Mood.NOT_READY
        await fleet.asked_until(lambda: fleet.left_out == 2)
        assert (await fleet.ask("POST")).status == 503


async def test_a_replica_that_fails_what_it_is_asked_is_left_out_though_it_says_that_it_is_ready() -> None:
    async with Fleet(2).running() as fleet:
        failing, _ = fleet.machines
        failing.mood = Mood.FAILING
        await fleet.asked_until(lambda: fleet.left_out == 1)
        assert len(failing.heard) == 3
        assert {(await fleet.ask()).status for _ in range(10)} == {200}


async def test_a_flapping_replica_is_left_out_for_longer_each_time() -> None:
    async with Fleet(2).running() as fleet:
        flapping, _ = fleet.machines
        replica = fleet.peer.replicas.known[0]
        rests = []
        for _ in range(6):
            await flapping.kill()
            await fleet.asked_until(lambda: fleet.left_out == 1)
            rest_s = replica.rest_until_s - fleet.clock.monotonic_s()
            rests.append(rest_s)
            await flapping.open()
            before = len(flapping.heard)
            fleet.clock.advance(rest_s - 0.01)
            await fleet.ask()
            assert fleet.left_out == 1
            fleet.clock.advance(1)
            await fleet.asked_until(lambda before=before: len(flapping.heard) > before)  # type: ignore[misc]
        assert all(
            longest / 4 <= rest_s <= longest for rest_s, longest in zip(rests, (1, 2, 4, 8, 16, 30), strict=True)
        )
        assert rests == sorted(rests)


async def test_when_none_answers_one_request_tries_and_the_others_are_refused_at_once() -> None:
    async with Fleet(2).running(HASTY) as fleet:
        for machine in fleet.machines:
            machine.mood = Mood.HANGING
        stuck = []
        while any(replica.answers for replica in fleet.peer.replicas.known):
            stuck.append(asyncio.create_task(fleet.ask("POST")))
            await asyncio.sleep(0.1)
        heard = sum(len(machine.heard) for machine in fleet.machines)
        trying = asyncio.create_task(fleet.ask("POST"))
        await until(lambda: sum(len(machine.heard) for machine in fleet.machines) == heard + 1)
        for _ in range(5):
            with pytest.raises(Unavailable) as refusal:
                await fleet.ask()
            assert (refusal.value.problem_type, refusal.value.retry_after_s) == ("service-unavailable", 1)
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)
        for machine in fleet.machines:
            machine.mood = Mood.WELL
        assert (await fleet.ask("POST")).status == 200
        assert fleet.left_out == 1
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_the_last_replica_is_still_asked_when_it_is_too_busy_to_say_how_it_is() -> None:
    async with Fleet(1).running(HASTY) as fleet:
        busy = fleet.machines[0]
        busy.mood = Mood.HANGING
        stuck = asyncio.create_task(fleet.ask("POST"))
        await until(lambda: fleet.left_out == 1)
        busy.mood = Mood.WELL
        assert [answer.status for answer in await asyncio.gather(*(fleet.ask("POST") for _ in range(5)))] == [200] * 5
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)


async def test_a_replica_that_answers_meanwhile_is_not_away() -> None:
    async with Fleet(2).running() as fleet:
        deaf, _ = fleet.machines
        deaf.mood = Mood.DEAF
        deaf.pause()
        asking = [asyncio.create_task(fleet.ask("POST")) for _ in range(2)]
        replica = fleet.peer.replicas.known[0]
        await until(lambda: replica.check is not None)
        deaf.go_on()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 2
        await until(lambda: replica.check is None)
        assert fleet.left_out == 0


async def test_the_failure_of_one_is_told_from_that_of_all() -> None:
    async with Fleet(2).running() as fleet:
        resetting, _ = fleet.machines
        resetting.mood = Mood.RESETTING
        outcomes: list[dict[str, Any]] = []
        while len(outcomes) < 3:
            state: dict[str, Any] = {}
            try:
                await fleet.ask("POST", state=state)
            except Unavailable:
                outcomes.append(state)
                # It says that it is ready, so it is asked again, until it has failed too often.
                await until(lambda: fleet.peer.replicas.known[0].check is None)
        assert fleet.left_out == 1
        fleet.machines[1].mood = Mood.RESETTING
        last: dict[str, Any] = {}
        with pytest.raises(Unavailable, match="Idempotency-Key"):
            await fleet.ask("POST", state=last)
        assert FAULT_OF_ONE not in last
