"""Jobs that would find nothing are not run: most of what an idle platform does is to look for work in vain.

Three quarters of a run's statements were such looks. Whether there is work is asked in one plain statement, which must
find everything that the job itself would find. Invariant: a run with `thorough` set runs every job every time, so that
a mistake here cannot hide one there; one run in eight is like that.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from orderwright.kernel.clock import Clock
from orderwright.kernel.jobs import Job
from tests.simulation.disk import Disk

NEVER = "SELECT 1 WHERE ?1 IS NULL"
WORK: dict[str, str] = {
    "retry-messages": "SELECT 1 FROM kept_messages WHERE state = 'retrying'",
    # What they remove is 30 days old.
    "housekeeping": NEVER,
    "forget-methods": NEVER,
    "drive-sagas": "SELECT 1 FROM order_sagas WHERE due_at <= ?1",
    "decide-cancellations": "SELECT 1 FROM orders WHERE cancel_requested IS NOT NULL",
    "charge": "SELECT 1 FROM payments WHERE next_attempt_at <= ?1",
    "refund": "SELECT 1 FROM refunds WHERE status = 'pending' AND next_attempt_at <= ?1",
    "expire-reservations": "SELECT 1 FROM reservations WHERE status = 'reserved' AND expires_at <= ?1",
    "publish-levels": "SELECT 1 FROM products WHERE dirty",
    "send": "SELECT 1 FROM notifications WHERE status = 'queued' AND next_attempt_at <= ?1",
}


def only_with_work(jobs: Iterator[Job], disk: Disk, clock: Clock) -> Iterator[Job]:
    """The same jobs, which look first."""
    for job in jobs:
        yield replace(job, run=_looks_first(job, WORK[job.name], disk, clock)) if job.name in WORK else job


def _looks_first(job: Job, query: str, disk: Disk, clock: Clock) -> Callable[[], Awaitable[bool]]:
    takes_time = "?1" in query

    async def run() -> bool:
        now = clock.now().strftime("%Y-%m-%d %H:%M:%S.%f")
        if not disk.rows(query + " LIMIT 1", *([now] if takes_time else [])):
            return False
        return await job.run()

    return run
