"""The live feed: lets a request wait for what the service is about to hear, and a stream follow an order.

It is a hint, never the truth: it reaches only listeners in this process, so whoever waits also looks at the database
now and then. Nothing is kept for keys that nobody listens to.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping


class Feed:
    """Wakes those who wait for a key, after the transaction that concerns the key has committed."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[Listener]] = defaultdict(set)

    def tell(self, told: Mapping[str, object]) -> None:
        """Something about these keys was committed; where it was told what that is, this says it too."""
        for key, news in told.items():
            for listener in self._waiting.get(key, ()):
                listener.hear(news)

    def listen(self, key: str) -> "Listener":
        """Begin to listen; open it before looking at the database, so that nothing falls between."""
        return Listener(self._waiting, key)


class Listener:
    """One who waits for a key; used as a context manager."""

    def __init__(self, waiting: "defaultdict[str, set[Listener]]", key: str) -> None:
        self.news: object = None
        """The last that was told in so many words."""
        self._waiting = waiting
        self._key = key
        self._event = asyncio.Event()

    def __enter__(self) -> "Listener":
        self._waiting[self._key].add(self)
        return self

    def __exit__(self, *_: object) -> None:
        listeners = self._waiting[self._key]
        listeners.discard(self)
        if not listeners:
            del self._waiting[self._key]

    def hear(self, news: object) -> None:
        """Something happened."""
        self.news = self.news if news is None else news
        self._event.set()

    def forget(self) -> None:
        """What happened so far without a word is no reason to wake up."""
        if self.news is None:
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
