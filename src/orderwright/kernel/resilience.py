"""Calls that may fail: a time limit, a breaker, and a retry where repeating is harmless.

Invariants: an open breaker lets nobody through; a half-open one lets exactly one probe through, so that a service that
just came back is not trampled; only calls of the breaker's present state move it. Retries happen in one place only and
from a budget, so that they never multiply an outage.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from orderwright.kernel.clock import Clock, rfc3339
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


class RetryBudget:
    """How many retries there may be, as a share of the calls; so an outage is never multiplied."""

    def __init__(self) -> None:
        self.tokens = RETRY_TOKENS

    def earn(self) -> None:
        """A call is made."""
        self.tokens = min(RETRY_TOKENS, self.tokens + TOKENS_PER_CALL)

    def take(self) -> bool:
        """Whether one retry may be made now."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Breaker:
    """Stops calling a peer that fails, and probes it with one call at a time until it is well again.

    It opens after `failures_to_open` failures in a row within `window_s`. Every call that `enter` lets through ends in
    exactly one of `succeeded`, `failed` and `abandoned`.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        failures_to_open: int = FAILURES_TO_OPEN,
        window_s: float = WINDOW_S,
        open_for_s: float = OPEN_FOR_S,
        on_change: OnChange | None = None,
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.state = BreakerState.CLOSED
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._window_s = window_s
        self._open_for_s = open_for_s
        self._on_change = on_change
        self._on_retry = on_retry
        self._failed_at_s: deque[float] = deque(maxlen=failures_to_open)
        self._opened_at_s = 0.0
        self._opened_at: datetime | None = None
        self._probing = False
        self._retries = RetryBudget()
        self._era = 0

    def enter(self) -> int:
        """Ask to make a call. Unavailable while the breaker is open, or half-open with its probe under way.

        Answers the era, one for each state that it was in; handed back with the outcome, it shows a late one as such.
        """
        if self.state is BreakerState.CLOSED:
            self._retries.earn()
            return self._era
        waited_s = self._clock.monotonic_s() - self._opened_at_s
        if self.state is BreakerState.OPEN and waited_s >= self._open_for_s:
            self._change(BreakerState.HALF_OPEN)
        if self.state is BreakerState.OPEN or self._probing:
            raise Unavailable(
                f"The {self.name} service is failing and is left alone for a moment",
                problem="service-unavailable",
                retry_after_s=max(1, math.ceil(self._open_for_s - waited_s)),
            )
        self._probing = True
        return self._era

    def succeeded(self, era: int | None = None) -> None:
        """The call was answered."""
        if self._is_late(era):
            return
        self._failed_at_s.clear()
        self._change(BreakerState.CLOSED)

    def failed(self, era: int | None = None) -> None:
        """The call was not answered, or answered with a fault."""
        if self._is_late(era):
            return
        now_s = self._clock.monotonic_s()
        self._failed_at_s.append(now_s)
        if self.state is BreakerState.HALF_OPEN or self._recent_failures(now_s) >= self._failures_to_open:
            self._opened_at_s, self._opened_at = now_s, self._clock.now()
            self._change(BreakerState.OPEN)

    def abandoned(self, era: int | None = None) -> None:
        """The caller went away before the call was decided; that says nothing of the peer."""
        if not self._is_late(era):
            self._probing = False

    def take_retry_token(self) -> bool:
        """Whether the budget allows one retry now."""
        if not self._retries.take():
            return False
        if self._on_retry is not None:
            self._on_retry(self.name)
        return True

    def snapshot(self) -> dict[str, Any]:
        """How it stands, for operators."""
        is_closed = self.state is BreakerState.CLOSED
        return {
            "name": self.name,
            "state": self.state.value,
            "failures": self._recent_failures(self._clock.monotonic_s()),
            "opened_at": None if is_closed or self._opened_at is None else rfc3339(self._opened_at),
            "retry_tokens": round(self._retries.tokens, 1),
        }

    def _recent_failures(self, now_s: float) -> int:
        return sum(now_s - at_s <= self._window_s for at_s in self._failed_at_s)

    def _is_late(self, era: int | None) -> bool:
        # A call that began in another state says nothing of now: a stream that ends well after the breaker opened must
        # not close it, and a slow failure must not take the probe's place. Nobody who asked was let in while it is
        # open, or half-open without a probe; so there even an outcome that names no era is late.
        if era is not None and era != self._era:
            return True
        return self.state is BreakerState.OPEN or (self.state is BreakerState.HALF_OPEN and not self._probing)

    def _change(self, state: BreakerState) -> None:
        if state is self.state:
            return
        self.state = state
        self._era += 1
        self._probing = False
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
    excused: Callable[[], bool] | None = None,
) -> T:
    """Call `operation`, `timeout_s` for each attempt; again only if `retryable`, the policy and the budget allow it.

    Raises the BusinessError that the peer answered with, or Unavailable. What an open breaker refuses is not tried
    again: it would be refused again. `excused` says that a failure was one replica's and says nothing of the peer.
    """
    attempt = 0
    while True:
        attempt += 1
        era = breaker.enter()
        try:
            return await _attempt(operation, breaker, era, timeout_s, excused or _never)
        except Unavailable:
            delay_s = backoff.delay_s(attempt, ids.jitter()) if retryable else None
            if delay_s is None or breaker.state is not BreakerState.CLOSED or not breaker.take_retry_token():
                raise
        await clock.sleep(delay_s)


async def _attempt(
    operation: Callable[[], Awaitable[T]], breaker: Breaker, era: int, timeout_s: float, excused: Callable[[], bool]
) -> T:
    def failed() -> None:
        if excused():
            breaker.abandoned(era)
        else:
            breaker.failed(era)

    try:
        async with asyncio.timeout(timeout_s):
            result = await operation()
    except TimeoutError:
        failed()
        raise Unavailable(f"The {breaker.name} service did not answer within {timeout_s} s") from None
    except BusinessError as error:
        if error.status < 500:
            breaker.succeeded(era)
        else:
            failed()
        raise
    except Exception as error:
        failed()
        raise Unavailable(f"The {breaker.name} service cannot be reached") from error
    except BaseException:
        # Cancelled, or the process ends; a probe that was never settled would keep its place for ever.
        breaker.abandoned(era)
        raise
    breaker.succeeded(era)
    return result


def _never() -> bool:
    return False
