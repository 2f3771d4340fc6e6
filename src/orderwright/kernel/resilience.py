"""Calls that may fail: a time limit, a breaker, and a retry where repeating is harmless.

Invariants: an open breaker lets nobody through; a half-open one lets exactly one probe through, so that a service that
just came back is not trampled. Retries happen in one place only and from a budget, so that they never multiply an
outage.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, TypeVar

from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import BusinessError, Unavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.retry import RETRY_CALLS, Backoff

T = TypeVar("T")

FAILURES_TO_OPEN = 5
WINDOW_S = 30.0
OPEN_FOR_S = 5.0
RETRY_TOKENS = 10.0
TOKENS_PER_CALL = 0.1
"""A tenth of the calls may be retries."""


class BreakerState(StrEnum):
    """Seed 001's three states."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


OnChange = Callable[[str, BreakerState], None]


class Breaker:
    """Stops calling a peer that fails, and probes it with one call at a time until it is well again."""

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        failures_to_open: int = FAILURES_TO_OPEN,
        window_s: float = WINDOW_S,
        open_for_s: float = OPEN_FOR_S,
        on_change: OnChange | None = None,
    ) -> None:
        self.name = name
        self.state = BreakerState.CLOSED
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._window_s = window_s
        self._open_for_s = open_for_s
        self._on_change = on_change
        self._failed_at_s: deque[float] = deque(maxlen=failures_to_open)
        self._opened_at_s = 0.0
        self._probing = False
        self._tokens = RETRY_TOKENS

    def enter(self) -> None:
        """Ask to make a call. Unavailable while the breaker is open, or half-open with its probe under way."""
        if self.state is BreakerState.CLOSED:
            self._tokens = min(RETRY_TOKENS, self._tokens + TOKENS_PER_CALL)
            return
        waited_s = self._clock.monotonic_s() - self._opened_at_s
        if self.state is BreakerState.OPEN and waited_s >= self._open_for_s:
            self._change(BreakerState.HALF_OPEN)
        if self.state is BreakerState.OPEN or self._probing:
            retry_after_s = max(1, round(self._open_for_s - waited_s))
            raise Unavailable(
                f"The {self.name} service is failing and is left alone for a moment",
                problem="service-unavailable",
                retry_after_s=retry_after_s,
            )
        self._probing = True

    def succeeded(self) -> None:
        """The call was answered."""
        self._probing = False
        if self.state is not BreakerState.CLOSED:
            self._failed_at_s.clear()
            self._change(BreakerState.CLOSED)
        elif self._failed_at_s:
            self._failed_at_s.clear()

    def failed(self) -> None:
        """The call was not answered, or answered with a fault."""
        self._probing = False
        now_s = self._clock.monotonic_s()
        self._failed_at_s.append(now_s)
        recent = [at_s for at_s in self._failed_at_s if now_s - at_s <= self._window_s]
        if self.state is BreakerState.HALF_OPEN or len(recent) >= self._failures_to_open:
            self._opened_at_s = now_s
            self._change(BreakerState.OPEN)

    def abandoned(self) -> None:
        """The caller went away before the call was decided; that says nothing of the peer."""
        self._probing = False

    def take_retry_token(self) -> bool:
        """Whether the budget allows one retry now."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def snapshot(self) -> dict[str, Any]:
        """How it stands, for operators."""
        return {"name": self.name, "state": self.state.value, "recent_failures": len(self._failed_at_s)}

    def _change(self, state: BreakerState) -> None:
        if state is self.state:
            return
        self.state = state
        if self._on_change is not None:
            self._on_change(self.name, state)


async def call(
    operation: Callable[[], Awaitable[T]],
    *,
    breaker: Breaker,
    timeout_s: float,
    clock: Clock,
    ids: Ids,
    retryable: bool,
    backoff: Backoff = RETRY_CALLS,
) -> T:
    """Call `operation`, `timeout_s` for each attempt; again only if `retryable`, the policy and the budget allow it.

    Raises the BusinessError that the peer answered with, or Unavailable.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await _attempt(operation, breaker, timeout_s)
        except Unavailable:
            delay_s = backoff.delay_s(attempt, ids.jitter()) if retryable else None
            if delay_s is None or not breaker.take_retry_token():
                raise
        await clock.sleep(delay_s)


async def _attempt(operation: Callable[[], Awaitable[T]], breaker: Breaker, timeout_s: float) -> T:
    breaker.enter()
    try:
        async with asyncio.timeout(timeout_s):
            result = await operation()
    except TimeoutError:
        breaker.failed()
        raise Unavailable(f"The {breaker.name} service did not answer within {timeout_s} s") from None
    except asyncio.CancelledError:
        breaker.abandoned()
        raise
    except BusinessError as error:
        if error.status < 500:
            breaker.succeeded()
        else:
            breaker.failed()
        raise
    except Exception as error:
        breaker.failed()
        raise Unavailable(f"The {breaker.name} service cannot be reached") from error
    breaker.succeeded()
    return result
