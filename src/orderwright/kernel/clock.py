"""The only source of time: everything that asks what time it is asks a `Clock` that was handed in.

Invariant: wall-clock instants are timezone-aware UTC; durations are measured on `monotonic_s`, which never jumps.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Time as the code sees it."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long in this clock's time."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def processor_s() -> float:
    """Seconds that this process has kept processors busy."""
    return time.process_time()


class FrozenClock:
    """A clock that moves only when told to; for tests and simulations."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Move this clock forward."""
        self._now += timedelta(seconds=seconds)
        self._elapsed_s += seconds


def rfc3339(instant: datetime) -> str:
    """`2026-01-31T12:00:00.000000Z` (RFC 3339, UTC, always microseconds so that text order is time order)."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """The instant that `text` names. ValueError when it has no zone or is not RFC 3339."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it like 2026-01-31T12:00:00Z")
    return instant.astimezone(UTC)
