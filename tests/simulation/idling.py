"""What would find nothing is not run: most of what an idle platform does is to look for work in vain.

Three quarters of a run's statements were such looks. Whether there is work is asked in one plain statement, which must
find everything that the job or the relay itself would find. Invariant: a run with `thorough` set does everything every
time, so that a mistake here cannot hide one there; one run in sixteen is like that.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from orderwright.kernel.clock import Clock
from orderwright.kernel.jobs import Job
from orderwright.kernel.relay import Relay

NEVER = ""
UNSENT = "SELECT 1 FROM outbox WHERE lease_until <= ?1"
EVERY_S = 3.0
WORK: dict[str, str] = {
    "retry-messages": "SELECT 1 FROM kept_messages WHERE state = 'retrying'",
    # What they remove is 30 days old.
    "housekeeping": NEVER,
    "forget": NEVER,
    "begin-left": "SELECT 1 FROM payments WHERE status = 'pending'",
    "drive-sagas": "SELECT 1 FROM order_sagas WHERE due_at <= ?1",
    "decide-cancellations": "SELECT 1 FROM orders WHERE cancel_requested IS NOT NULL",
    "charge": "SELECT 1 FROM payments WHERE next_attempt_at <= ?1",
    # What it counts is seen by nobody here, and what it warns of is older than a run.
    "alarms": NEVER,
    # The provider of a run never sends any.
    "webhooks": NEVER,
    "refund": "SELECT 1 FROM refunds WHERE next_attempt_at <= ?1",
    "expire-reservations": "SELECT 1 FROM reservations WHERE status = 'reserved' AND expires_at <= ?1",
    "publish-levels": "SELECT 1 FROM products WHERE dirty",
    "send": "SELECT 1 FROM notifications WHERE status = 'queued' AND next_attempt_at <= ?1",
}


@dataclass(frozen=True, slots=True)
class Idling:
    """What one process does not do, because a look at its database shows that it would be in vain."""

    driver: sqlite3.Connection
    clock: Clock

    def only_with_work(self, jobs: Iterator[Job]) -> Iterator[Job]:
        """The same jobs, which look first, and less often than they might."""
        for job in jobs:
            query = WORK.get(job.name)
            if query != NEVER:
                run = job.run if query is None else self._looks_first(job, query)
                yield replace(job, run=run, every_s=max(job.every_s, EVERY_S))

    def look_first(self, relay: Relay) -> None:
        """Have `relay` sweep only what waits; while something is wrong with its broker it goes there every time."""
        sweep, there_is_work = relay.sweep, self._look(UNSENT)

        async def sweep_if_needed() -> None:
            if relay.problem or there_is_work():
                await sweep()

        relay.sweep = sweep_if_needed  # type: ignore[method-assign]

    def _looks_first(self, job: Job, query: str) -> Callable[[], Awaitable[bool]]:
        there_is_work = self._look(query)

        async def run() -> bool:
            return await job.run() if there_is_work() else False

        return run

    def _look(self, query: str) -> Callable[[], bool]:
        execute, clock, query = self.driver.execute, self.clock, f"{query} LIMIT 1"
        if "?1" not in query:
            return lambda: execute(query).fetchone() is not None
        return lambda: execute(query, (_written(clock.now()),)).fetchone() is not None


def _written(time: datetime) -> str:
    """A time as the databases hold it."""
    return time.isoformat(" ", "microseconds")[:26]
