"""How quick the machine is at this moment: what is measured on it differs with that.

The same small piece of work is done every second beside what is measured. Its processor time says whether the processor
itself was slower, whatever the platform did: a neighbour on the same core, or on the same host, a lower clock.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

EVERY_S = 1.0
STEPS = 50_000
"""One millisecond or two."""


@asynccontextmanager
async def pulse() -> AsyncIterator[list[float]]:
    """Seconds of processor time for each piece of work that was done while this was entered."""
    took_s: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(_beat(took_s))
        try:
            yield took_s
        finally:
            beating.cancel()


async def _beat(took_s: list[float]) -> None:
    while True:
        took_s.append(_worked_s())
        await asyncio.sleep(EVERY_S)


def _worked_s() -> float:
    began_s, total = time.thread_time(), 0
    for step in range(STEPS):
        total += step % 7
    return time.thread_time() - began_s
