"""How often somebody may ask: a sliding minute for each caller and each address.

Invariants: counting is O(1) and holds at most MAX_COUNTED counters, however many addresses there are; when there are
more, the one that was idle longest is forgotten. Time is the clock's that was handed in.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from orderwright.gateway.settings import GatewaySettings
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import TooManyRequests

WINDOW_S = 60
MAX_COUNTED = 50_000

Headers = list[tuple[bytes, bytes]]
Counts = tuple[int, float, int, float]
"""Hits of the window before and seconds until they no longer count; hits of this window and seconds likewise."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit after a request, and in how many seconds there is more."""

    name: str
    quota: int
    left: int
    reset_s: int


class LimitReached(TooManyRequests):
    """One request too many. It counted for nothing."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(
            f"At most {allowance.quota} requests a minute are answered for this {allowance.name}",
            retry_after_s=allowance.reset_s,
            extra={"violated-policies": [allowance.name]},
        )
        self.allowance = allowance


class RateLimits:
    """The limits `caller`, `address` and `login`; those that are set to 0 do not exist."""

    def __init__(self, settings: GatewaySettings, clock: Clock) -> None:
        self._storage = _SlidingMinutes(clock)
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        amounts = {
            "caller": settings.caller_per_minute,
            "address": settings.address_per_minute,
            "login": settings.login_per_minute,
        }
        self._limits: dict[str, RateLimitItem] = {
            name: RateLimitItemPerMinute(amount) for name, amount in amounts.items() if amount
        }

    async def count(self, name: str, who: str) -> Allowance | None:
        """One more request of `who`; None where nothing limits it. LimitReached when it is one too many."""
        limit = self._limits.get(name)
        if limit is None:
            return None
        allowed = await self._limiter.hit(limit, name, who)
        counts = await self._storage.get_sliding_window(limit.key_for(name, who), WINDOW_S)
        if not allowed:
            raise LimitReached(Allowance(name, limit.amount, 0, retry_after_s(limit.amount, counts)))
        left = max(0, limit.amount - math.floor(_weighted(counts)))
        return Allowance(name, limit.amount, left, max(1, math.ceil(_window_left_s(counts))))


def headers_of(allowances: Sequence[Allowance]) -> Headers:
    """As header fields (draft-ietf-httpapi-ratelimit-headers): every limit that was counted, in one field each."""
    if not allowances:
        return []
    policies = ", ".join(f'"{item.name}";q={item.quota};w={WINDOW_S}' for item in allowances)
    left = ", ".join(f'"{item.name}";r={item.left};t={item.reset_s}' for item in allowances)
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", left.encode())]


def retry_after_s(quota: int, counts: Counts) -> int:
    """Whole seconds after which a request fits again that does not now, if nobody asks meanwhile.

    Hits of the window before fade evenly; those of this window begin to when it has ended.
    """
    before, before_left_s, now, _ = counts
    if now < quota:
        wait_s = before_left_s - (quota - now) * WINDOW_S / before if before else 0.0
    else:
        wait_s = _window_left_s(counts) + WINDOW_S * (1 - quota / now)
    return max(0, math.floor(wait_s)) + 1


def _window_left_s(counts: Counts) -> float:
    return counts[3] - WINDOW_S


def _weighted(counts: Counts) -> float:
    before, before_left_s, now, _ = counts
    return before * before_left_s / WINDOW_S + now


@dataclass(slots=True)
class _Minutes:
    number: int
    before: int = 0
    now: int = 0


class _SlidingMinutes(MemoryStorage):
    """What the strategy of `limits` needs, without the library's walk over all keys at every hit.

    Nothing here waits, so each method is one step of the event loop and needs no lock.
    """

    STORAGE_SCHEME = ["async+minutes"]  # noqa: RUF012 - the library's own way of naming a storage

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._counted: OrderedDict[str, _Minutes] = OrderedDict()

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count a hit if it fits."""
        minutes, counts = self._read(key, expiry)
        if math.floor(_weighted(counts)) + amount > limit:
            return False
        minutes.now += amount
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> Counts:
        """The counts as they weigh now."""
        return self._read(key, expiry)[1]

    async def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002 - the library's signature
        """Forget `key`."""
        self._counted.pop(key, None)

    def _read(self, key: str, expiry: int) -> tuple[_Minutes, Counts]:
        now_s = self._clock.monotonic_s()
        number, left_s = int(now_s // expiry), expiry - now_s % expiry
        minutes = self._counted.get(key)
        if minutes is None:
            minutes = self._counted[key] = _Minutes(number)
            if len(self._counted) > MAX_COUNTED:
                self._counted.popitem(last=False)
        elif minutes.number != number:
            minutes.before = minutes.now if minutes.number == number - 1 else 0
            minutes.number, minutes.now = number, 0
        self._counted.move_to_end(key)
        return minutes, (minutes.before, left_s if minutes.before else 0.0, minutes.now, left_s + expiry)
