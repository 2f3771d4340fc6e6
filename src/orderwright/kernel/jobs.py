"""Jobs: what a service does on a schedule, and at once when a transaction asks for it.

Invariant: a job finds its work in the database (due rows, claimed with SKIP LOCKED), so any replica may run it, it may
run at any time, and a wake-up that is lost costs time, never work.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from orderwright.kernel.clock import Clock
from orderwright.kernel.consumer import cancelled_quietly
from orderwright.kernel.errors import BrokerUnavailable, DatabaseUnavailable
from orderwright.kernel.ids import Ids

log = structlog.get_logger(__name__)

MAX_PAUSE_AFTER_FAILURE_S = 60.0
PAUSE_IN_OUTAGE_S = 1.0
SHORTEST_PAUSE_S = 1.0
"""What is due and cannot be taken is somebody else's at the moment: no reason to ask without a pause."""


@dataclass(frozen=True, slots=True)
class Job:
    """`run` does what is due and answers whether more is waiting; it is called every `every_s` and when woken."""

    name: str
    run: Callable[[], Awaitable[bool]]
    every_s: float
    due_in_s: Callable[[], float | None] = lambda: None
    """In how many seconds something is known to be due, so that nobody has to look until then; None: not known."""


@asynccontextmanager
async def beside(loop: Callable[[], Awaitable[None]], *, name: str) -> AsyncIterator[None]:
    """Run `loop` beside the body, and cancel it at the body's end."""

    async def run() -> None:
        await loop()

    task = asyncio.create_task(run(), name=name)
    try:
        yield
    finally:
        await cancelled_quietly(task)


class JobRunner:
    """Runs one job until it is cancelled; a job that fails is tried again, ever more slowly.

    A database or a broker that is away is waited for, at an even pace: what was due meanwhile is late already.
    """

    def __init__(self, job: Job, clock: Clock, ids: Ids) -> None:
        self.job = job
        self.failures = 0
        self._clock = clock
        self._ids = ids
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is work: run now."""
        self._woken.set()

    async def run_forever(self) -> None:
        while True:
            self._woken.clear()
            more = await self._run_once()
            if not more:
                await self._pause()

    async def _run_once(self) -> bool:
        try:
            more = await self.job.run()
        except (DatabaseUnavailable, BrokerUnavailable) as error:
            # An outage, and no fault of the job's: when it is over, the work that waits is done at once.
            log.warning("job_postponed", job=self.job.name, reason=str(error))
            await self._clock.sleep(PAUSE_IN_OUTAGE_S)
            return True
        except Exception:
            self.failures += 1
            log.exception("job_failed", job=self.job.name, failures=self.failures)
            await self._clock.sleep(min(2.0**self.failures * 0.1, MAX_PAUSE_AFTER_FAILURE_S))
            return False
        self.failures = 0
        return more

    async def _pause(self) -> None:
        # Spread over a tenth of the period, so that replicas do not all look at the same moment.
        period_s = self.job.every_s * (1 + 0.1 * self._ids.jitter())
        due_in_s = self.job.due_in_s()
        if due_in_s is not None:
            period_s = min(period_s, max(due_in_s, SHORTEST_PAUSE_S))
        try:
            async with asyncio.timeout(period_s):
                await self._woken.wait()
        except TimeoutError:
            return
