"""Entries of streams: how a message becomes one, how a delivery is read from one, and in which order they come.

Invariants: whatever somebody wrote to a stream can be read. Several streams are read in the order of time, also while
one of them has a long way to catch up: an event does not overtake what happened before it only because its topic is
shorter.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from orderwright.kernel.broker import Delivery
from orderwright.kernel.brokers.redis.connection import Command
from orderwright.kernel.messages import Message

BODY = b"data"
KEY = "ce_subject"


class Place(NamedTuple):
    """Where an entry is: what acknowledges it."""

    stream: bytes
    entry: bytes


def adding(stream: bytes, message: Message) -> Command:
    """The command that adds `message` to `stream`."""
    fields = (word for pair in message.headers().items() for word in pair)
    return (b"XADD", stream, b"*", BODY, message.body, *fields)


def age(entry: bytes) -> tuple[int, int]:
    """What entry ids are ordered by: the server's milliseconds, then a number."""
    ms, _, number = entry.partition(b"-")
    return int(ms), int(number or 0)


def delivery(topic: str, place: Place, fields: Sequence[bytes]) -> Delivery:
    """The entry as the consumer gets it; fields and values that are no text are made legible."""
    values = dict(zip(fields[::2], fields[1::2], strict=False))
    body = values.pop(BODY, b"")
    headers = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in values.items()}
    return Delivery(topic, headers.get(KEY, ""), headers, body, place)


class Merged:
    """Deliveries of several streams on their way to the consumer, oldest first."""

    def __init__(self, streams: Iterable[bytes]) -> None:
        self._waiting: dict[bytes, deque[Delivery]] = {stream: deque() for stream in streams}
        self._more: set[bytes] = set()
        """Streams whose last reading was as large as it could be: the next of theirs may be the oldest of all."""
        self._first: deque[Delivery] = deque()

    def add_again(self, deliveries: Iterable[Delivery]) -> None:
        """These were given to somebody before; they are older than what is new."""
        self._first.extend(sorted(deliveries, key=lambda one: age(one.token.entry)))

    def add(self, stream: bytes, deliveries: Sequence[Delivery], *, more: bool) -> None:
        """The next entries of `stream`; `more`: there may be others behind them."""
        self._waiting[stream].extend(deliveries)
        (self._more.add if more else self._more.discard)(stream)

    @property
    def empty(self) -> bool:
        """Whether nothing waits here."""
        return not self._first and not any(self._waiting.values())

    @property
    def more(self) -> bool:
        """Whether something waits here, or is known to wait in a stream."""
        return not self.empty or bool(self._more)

    def to_read(self) -> list[bytes]:
        """The streams without which it is not known what comes next; empty when it is known."""
        if self._first:
            return []
        if self.empty:
            return list(self._waiting)
        return [stream for stream in self._more if not self._waiting[stream]]

    def take(self, most: int) -> list[Delivery]:
        """The oldest, `most` of them or as many as are known to be the oldest."""
        taken = [self._first.popleft() for _ in range(min(most, len(self._first)))]
        taken.extend(one for _, one in zip(range(most - len(taken)), self._oldest(), strict=False))
        return taken

    def _oldest(self) -> Iterator[Delivery]:
        if self.to_read():
            return
        heads = [(age(queue[0].token.entry), stream) for stream, queue in self._waiting.items() if queue]
        heapq.heapify(heads)
        while heads:
            _, stream = heads[0]
            queue = self._waiting[stream]
            yield queue.popleft()
            if queue:
                heapq.heapreplace(heads, (age(queue[0].token.entry), stream))
            elif stream in self._more:
                return
            else:
                heapq.heappop(heads)


def pairs(flat: Sequence[Any]) -> dict[bytes, Any]:
    """What Redis sends as a flat list of names and values."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
