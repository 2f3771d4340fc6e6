"""How long to wait for company: not at all while little arrives, a moment while much does.

A transaction costs nearly the same for one message as for twenty. Under load a consumer that waits some milliseconds
between two batches does the same work in fewer of them; alone, a message is never kept waiting.

The moment is as long as the last batches took, and no longer than a limit: a process that has time to spare answers
soon, and one that has not lets batches grow until it has.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from orderwright.kernel.clock import Clock

MEMORY_S = 0.5
"""How fast a burst is forgotten."""
NEWEST = 0.3
"""The share of the newest batch in what batches take."""


class Pace:
    """The rate at which something arrives, and what to make of it."""

    def __init__(self, clock: Clock, *, busy_per_s: float, linger_s: float, at_least_s: float = 0.0) -> None:
        """While much arrives, everybody waits for company for between `at_least_s` and `linger_s`."""
        self._clock = clock
        self._busy_per_s = busy_per_s
        self._linger_s = linger_s
        self._at_least_s = at_least_s
        self._per_s = 0.0
        self._noted_s = clock.monotonic_s()
        self._batch_s = 0.0

    @contextmanager
    def batch(self, arrived: int) -> Iterator[None]:
        """A batch of so many is carried out inside this."""
        began_s = self._clock.monotonic_s()
        self._per_s = self._per_s_at(began_s) + arrived / MEMORY_S
        self._noted_s = began_s
        try:
            yield
        finally:
            self._batch_s += NEWEST * (self._clock.monotonic_s() - began_s - self._batch_s)

    @property
    def busy(self) -> bool:
        """Whether so much arrived lately that company pays."""
        return self._per_s_at(self._clock.monotonic_s()) > self._busy_per_s

    async def linger(self, *, full: bool) -> None:
        """Wait for company where that pays; never behind a full batch, because more is there already."""
        if not full and self.busy:
            await self._clock.sleep(max(self._at_least_s, min(self._linger_s, self._batch_s)))

    def _per_s_at(self, now_s: float) -> float:
        return self._per_s * math.exp((self._noted_s - now_s) / MEMORY_S)
