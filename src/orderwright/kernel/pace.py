"""How long to wait for company: not at all while little arrives, a moment while much does.

A transaction costs nearly the same for one message as for twenty. Under load a consumer that waits some milliseconds
between two batches does the same work in fewer of them; alone, a message is never kept waiting.
"""

import math

from orderwright.kernel.clock import Clock

MEMORY_S = 0.5
"""How fast a burst is forgotten."""


class Pace:
    """The rate at which something arrives, and what to make of it."""

    def __init__(self, clock: Clock, *, busy_per_s: float, linger_s: float) -> None:
        self._clock = clock
        self._busy_per_s = busy_per_s
        self._linger_s = linger_s
        self._per_s = 0.0
        self._noted_s = clock.monotonic_s()

    def note(self, arrived: int) -> None:
        """So many arrived just now."""
        now_s = self._clock.monotonic_s()
        self._per_s = self._per_s * math.exp((self._noted_s - now_s) / MEMORY_S) + arrived / MEMORY_S
        self._noted_s = now_s

    async def linger(self, *, full: bool) -> None:
        """Wait for company where that pays; never behind a full batch, because more is there already."""
        if not full and self._per_s > self._busy_per_s:
            await self._clock.sleep(self._linger_s)
