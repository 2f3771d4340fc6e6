"""Retry policies: pure objects that answer how long to wait before the next attempt, or that there is none.

Invariant: a policy that makes no sense cannot be built; the wait is spread (by default over the upper half of what it
could be), so that those who failed together do not come back together.
"""

import math
from dataclasses import dataclass

from orderwright.kernel.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential waits: `first_s`, then `factor` times longer each, up to `max_s`; `attempts` None means for ever.

    `jitter` is the share of each wait that chance decides: 0 for none of it, 1 for all of it.
    """

    first_s: float
    factor: float
    max_s: float
    attempts: int | None
    jitter: float = 0.5

    def __post_init__(self) -> None:
        # Written as what must hold, so that NaN, which compares as false, is refused too.
        if not 0 < self.first_s <= self.max_s < math.inf:
            raise ConfigurationError(f"A backoff waits longer than 0 s and at most max_s: {self}")
        if not 1 <= self.factor < math.inf:
            raise ConfigurationError(f"A backoff never gets shorter: {self}")
        if self.attempts is not None and self.attempts < 1:
            raise ConfigurationError(f"A backoff allows at least one attempt: {self}")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"A backoff's jitter is a share, from 0 to 1: {self}")

    def delay_s(self, attempt: int, random01: float) -> float | None:
        """Seconds to wait after the `attempt`-th attempt (1 is the first) failed; None when that was the last."""
        if self.attempts is not None and attempt >= self.attempts:
            return None
        try:
            full_s = min(self.max_s, self.first_s * float(self.factor) ** max(0, attempt - 1))
        except OverflowError:  # a very old failure
            full_s = self.max_s
        return full_s * (1 - self.jitter + self.jitter * random01)


RETRY_MESSAGES = Backoff(first_s=0.2, factor=4, max_s=300, attempts=8)
"""A message that failed: eight attempts within some ten minutes, then a dead letter."""
RETRY_CALLS = Backoff(first_s=0.05, factor=2, max_s=0.5, attempts=2)
"""A call between services that is safe to repeat."""
RETRY_EFFECTS = Backoff(first_s=0.5, factor=2, max_s=300, attempts=None)
"""What must happen in the end: a refund, an undo."""
