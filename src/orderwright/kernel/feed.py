"""The live feed: lets a request wait for what the service is about to hear, and a stream follow an order.

It is a hint, never the truth: it reaches only listeners in this process, so whoever waits also looks at the database
now and then. Nothing is kept for keys that nobody listens to.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable


class Feed:
    """Wakes those who wait for a key, after the transaction that concerns the key has committed."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def tell(self, keys: Iterable[str]) -> None:
        """Something about these keys was committed."""
        for key in keys:
            for event in self._waiting.get(key, ()):
                event.set()

    def listen(self, key: str) -> "Listener":
        """Begin to listen; open it before looking at the database, so that nothing falls between."""
        return Listener(self._waiting, key)


class Listener:
    """One who waits for a key; used as a context manager."""

    def __init__(self, waiting: defaultdict[str, set[asyncio.Event]], key: str) -> None:
        self._waiting = waiting
        self._key = key
        self._event = asyncio.Event()

    def __enter__(self) -> "Listener":
        self._waiting[self._key].add(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        listeners = self._waiting[self._key]
        listeners.discard(self._event)
        if not listeners:
            del self._waiting[self._key]

    def forget(self) -> None:
        """What happened so far is no reason to wake up."""
        self._event.clear()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until something happened or the time is over; answers whether something happened."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
