"""When a job runs: at its turn, when something is due before, and when it is woken."""

import asyncio
from pathlib import Path

import pytest

from orderwright.kernel.clock import SystemClock
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.jobs import Job, JobRunner
from tests.kernel.letters import Faults, broken, level, listening, noted

NEVER_S = 3600.0
PATIENCE_S = 30
SOON_S = 5.0


class Turns:
    """A job that notes its turns; what it is told is due makes the next one come."""

    def __init__(self, due_in_s: float | None) -> None:
        self.due_in_s = due_in_s
        self.taken = asyncio.Semaphore(0)

    async def run(self) -> bool:
        self.taken.release()
        return False

    def runner(self) -> JobRunner:
        return JobRunner(Job("turns", self.run, NEVER_S, lambda: self.due_in_s), SystemClock(), SeededIds(1))


async def has_second_turn(turns: Turns, *, wake: bool = False) -> bool:
    """Wait for the first turn, wake the job if that is asked for, and see whether there is another one soon."""
    runner = turns.runner()
    running = asyncio.create_task(runner.run_forever())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await turns.taken.acquire()
        if wake:
            await asyncio.sleep(0)
            runner.wake()
        async with asyncio.timeout(SOON_S):
            await turns.taken.acquire()
    except TimeoutError:
        return False
    else:
        return True
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_job_runs_when_something_is_due_before_its_turn() -> None:
    assert await has_second_turn(Turns(due_in_s=0.0))


async def test_a_job_runs_when_it_is_woken() -> None:
    assert await has_second_turn(Turns(due_in_s=None), wake=True)


@pytest.mark.parametrize("due_in_s", [None, NEVER_S])
async def test_a_job_with_nothing_to_do_is_left_alone(due_in_s: float | None) -> None:
    assert not await has_second_turn(Turns(due_in_s))


async def test_a_message_that_is_kept_wakes_its_retries_which_know_when_it_is_due(tmp_path: Path) -> None:
    faults = Faults({"mug 1": broken()})
    async with listening(tmp_path, faults) as bench:
        retries, woken = bench.runtime.consumer.retries, asyncio.Event()
        retries.kept_one = woken.set
        assert not await retries.run_due()
        assert (retries.due_in_s(), woken.is_set()) == (None, False)
        await bench.hear(level("mug", 1))
        assert woken.is_set()
        assert not await retries.run_due()
        due_in_s = retries.due_in_s()
        assert due_in_s is not None
        assert 0 < due_in_s < 5, "before a quiet service looks by itself"
        faults.of.clear()
        bench.clock.advance(due_in_s)
        assert await retries.run_due()
        assert await noted(bench, "mug") == ["1"]
        assert not await retries.run_due()
        assert retries.due_in_s() is None
