"""Jobs while what they need is away, and when they fail by themselves."""

import asyncio

import pytest

from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.errors import BrokerUnavailable, DatabaseUnavailable
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.jobs import Job, JobRunner

EVERY_S = 0.0


async def after_failing(times: int, error: Exception) -> tuple[FrozenClock, JobRunner]:
    """A job that fails so often, and then once does not; the clock tells how long it took."""
    clock, done, runs = FrozenClock(), asyncio.Event(), 0

    async def run() -> bool:
        nonlocal runs
        runs += 1
        if runs <= times:
            raise error
        done.set()
        return False

    runner = JobRunner(Job("job", run, EVERY_S), clock, SeededIds(0))
    task = asyncio.create_task(runner.run_forever())
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return clock, runner


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), BrokerUnavailable("away")])
async def test_a_job_goes_on_a_second_after_an_outage_however_long_that_was(error: Exception) -> None:
    clock, runner = await after_failing(300, error)
    assert (clock.monotonic_s(), runner.failures) == (300, 0)


async def test_a_job_that_fails_by_itself_is_tried_again_ever_more_slowly() -> None:
    clock, _ = await after_failing(4, RuntimeError("a fault of ours"))
    assert clock.monotonic_s() == pytest.approx(0.2 + 0.4 + 0.8 + 1.6)
