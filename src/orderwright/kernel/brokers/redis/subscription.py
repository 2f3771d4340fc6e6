"""One consumer of a group: reads its streams, takes over what others left, and acknowledges.

Invariants: what Redis gave to this consumer is in its hands, acknowledged, or taken up again after a failure; nothing
is in its hands twice. Nothing is read, and nothing taken over, unless somebody waits in `receive`: a process whose
database is away does not pile up what others could handle. An outage is waited out, and logged once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from orderwright.kernel.broker import Delivery
from orderwright.kernel.brokers.redis.connection import LET_GO_S, PATIENCE_S, Address, Command, Link, granted, refused
from orderwright.kernel.brokers.redis.entries import Merged, Place, delivery
from orderwright.kernel.brokers.redis.upkeep import FORSAKEN_MS, leaving
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import BrokerUnavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.retry import Backoff

log = structlog.get_logger(__name__)

WAIT_S = 5.0
"""How long one reading waits for news, and how often is looked for what others left."""
CLOSE_S = 3.0
PAGE = 1000
RETRY = Backoff(first_s=0.1, factor=2, max_s=3, attempts=None)


class RedisSubscription:
    """A group's door to its streams, under a consumer name of its own."""

    def __init__(
        self,
        group: str,
        streams: Mapping[bytes, str],
        farewells: bytes,
        address: Address,
        *,
        max_batch: int,
        link: Link,
        prepare: Callable[[], Awaitable[None]],
        clock: Clock,
        ids: Ids,
        consumer: str,
    ) -> None:
        """`streams` gives each stream's topic; `prepare` makes streams and groups that are not there.

        `farewells` is one more stream: who leaves something behind says so there, and one of the group hears it.
        """
        self.closed = False
        self._group = group
        self._consumer = consumer
        self._topics = streams
        self._farewells = farewells
        self._max_batch = max_batch
        self._claim_ms = round(address.claim_after_s * 1000)
        self._claim_every_s = min(WAIT_S, address.claim_after_s)
        self._claim_at_s = 0.0
        self._cursors: dict[bytes, bytes] = dict.fromkeys(streams, b"0-0")
        self._link = link
        self._reading = Link(address, patience_s=WAIT_S + PATIENCE_S)
        self._prepare = prepare
        self._clock = clock
        self._ids = ids
        self._merged = Merged(streams)
        self._in_hand: set[Place] = set()
        self._handled: defaultdict[bytes, list[bytes]] = defaultdict(list)
        """Acknowledged here, and not yet there."""
        self._outage = 0
        """How many attempts have failed since something succeeded."""
        self._filling: asyncio.Task[None] | None = None

    @property
    def more_waits(self) -> bool:
        return self._merged.more

    async def receive(self) -> Sequence[Delivery]:
        # What waits for Redis is a task of its own: who is cancelled here leaves it behind for the next call.
        while not self.closed:
            if not self._merged.to_read():
                # What was acknowledged before goes with a reading; there may be none for as long as this lasts.
                await self._tell_handled()
                return self._merged.take(self._max_batch)
            if self._filling is None:
                self._filling = asyncio.create_task(self._fill())
            filling = self._filling
            await asyncio.wait({filling})
            if self._filling is filling:
                self._filling = None
            if not filling.cancelled():
                filling.result()
        return []

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        for one in deliveries:
            if one.token in self._in_hand:
                self._in_hand.discard(one.token)
                self._handled[one.token.stream].append(one.token.entry)
        if self.closed:  # otherwise the next reading tells it
            await self._tell_handled()

    async def close(self) -> None:
        """Stop receiving. What is in hand may be taken over from now on, and may still be acknowledged."""
        if self.closed:
            return
        self.closed = True
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait({self._filling}, timeout=LET_GO_S)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._reading.close()
                await self._tell_handled()
                await self._leave()
        except (BrokerUnavailable, TimeoutError) as error:
            log.warning("not_handed_back", group=self._group, consumer=self._consumer, reason=str(error) or "no answer")

    async def _fill(self) -> None:
        while not self.closed and self._merged.to_read():
            try:
                if self._outage:
                    await self._begin_again()
                if self._clock.monotonic_s() >= self._claim_at_s:
                    await self._take_over()
                await self._read()
            except BrokerUnavailable as error:
                self._outage += 1
                if self._outage == 1:
                    log.warning("broker_lost", group=self._group, reason=str(error))
                await self._clock.sleep(RETRY.delay_s(self._outage, self._ids.jitter()) or 0)
            else:
                if self._outage:
                    log.info("broker_back", group=self._group, attempts=self._outage)
                self._outage = 0

    async def _read(self) -> None:
        streams = self._merged.to_read()
        if not streams:
            return
        count = self._max_batch
        words: list[Any] = [b"XREADGROUP", b"GROUP", self._group, self._consumer, b"COUNT", count]
        asked = streams
        if self._merged.empty:
            wait_s = min(WAIT_S, max(0.001, self._claim_at_s - self._clock.monotonic_s()))
            words += [b"BLOCK", max(1, round(wait_s * 1000))]
            asked = [*streams, self._farewells]
        [reply] = await self._telling(self._reading, (*words, b"STREAMS", *asked, *[b">"] * len(asked)))
        found = dict(granted(reply) or ())
        self._hear_farewells([entry for entry, _ in found.get(self._farewells, ())])
        for stream in streams:
            entries = found.get(stream, ())
            self._merged.add(stream, self._new(stream, entries), more=len(entries) >= count)

    def _hear_farewells(self, entries: Sequence[bytes]) -> None:
        """Look at once for what others left, when they said that they did."""
        if entries:
            self._handled[self._farewells].extend(entries)
            self._cursors = dict.fromkeys(self._topics, b"0-0")
            self._claim_at_s = self._clock.monotonic_s()

    async def _begin_again(self) -> None:
        """Have everything there again, and take up what this consumer was given by a reply that never came."""
        await self._prepare()
        await self._telling(self._reading)
        after = dict.fromkeys(self._topics, b"0-0")
        while after:
            replies = await self._reading.run([self._own(stream, entry) for stream, entry in after.items()])
            found = {stream: entries for reply in replies for stream, entries in granted(reply) or () if entries}
            self._merged.add_again(one for stream, entries in found.items() for one in self._new(stream, entries))
            after = {stream: entries[-1][0] for stream, entries in found.items()}

    def _own(self, stream: bytes, after: bytes) -> Command:
        return (b"XREADGROUP", b"GROUP", self._group, self._consumer, b"COUNT", PAGE, b"STREAMS", stream, after)

    async def _take_over(self) -> None:
        """Claim what has been pending for too long; as much as a batch holds, the rest of it the next time."""
        await self._telling(self._reading)
        while self._cursors:
            command = (self._group, self._consumer, self._claim_ms)
            replies = await self._reading.run(
                [
                    (b"XAUTOCLAIM", stream, *command, at, b"COUNT", self._max_batch)
                    for stream, at in self._cursors.items()
                ]
            )
            again: list[Delivery] = []
            for stream, reply in zip(list(self._cursors), replies, strict=True):
                self._cursors[stream], entries, *_ = granted(reply)
                again += self._new(stream, entries)
                if self._cursors[stream] == b"0-0":
                    del self._cursors[stream]
            self._merged.add_again(again)
            if not self._merged.to_read():
                return
        self._cursors = dict.fromkeys(self._topics, b"0-0")
        self._claim_at_s = self._clock.monotonic_s() + self._claim_every_s

    def _new(self, stream: bytes, entries: Sequence[Any]) -> list[Delivery]:
        """Those of `entries` that are not in hand already, which they now are."""
        new: list[Delivery] = []
        for entry in entries:
            if entry is None:  # removed from the stream, and Redis does not even say which
                continue
            place = Place(stream, entry[0])
            if place in self._in_hand:
                continue
            if entry[1] is None:  # removed from the stream while it was pending: nobody can handle it any more
                self._handled[stream].append(place.entry)
                continue
            self._in_hand.add(place)
            new.append(delivery(self._topics[stream], place, entry[1]))
        return new

    async def _tell_handled(self) -> None:
        """Acknowledge what was handled. What Redis does not hear is told again before the next reading."""
        try:
            await self._telling(self._link)
        except BrokerUnavailable as error:
            log.debug("not_acknowledged", group=self._group, reason=str(error))

    async def _telling(self, link: Link, *more: Command) -> list[Any]:
        """Acknowledge what was handled, on the way of `more`; answers Redis's replies to that. BrokerUnavailable."""
        if not (self._handled or more):
            return []
        handled, self._handled = self._handled, defaultdict(list)
        unheard = set(handled)
        acknowledging = [(b"XACK", stream, self._group, *ids) for stream, ids in handled.items()]
        try:
            replies = await link.run([*acknowledging, *more])
            unheard = {stream for stream, reply in zip(handled, replies, strict=False) if refused(reply)}
            return replies[len(handled) :]
        finally:
            for stream in unheard:
                self._handled[stream].extend(handled[stream])

    async def _leave(self) -> None:
        """Mark as forsaken what is pending with this consumer and say so, or go without a trace if nothing is."""
        leaves_some = False
        after = dict.fromkeys(self._topics, b"-")
        while after:
            replies = await self._link.run(
                [(b"XPENDING", stream, self._group, at, b"+", PAGE, self._consumer) for stream, at in after.items()]
            )
            pending = {
                stream: [row[0] for row in granted(reply)]
                for stream, reply in zip(after, replies, strict=True)
                if not refused(reply, because="NOGROUP") and granted(reply)
            }
            if pending:
                leaves_some = True
                await self._link.run([self._forsaking(stream, ids) for stream, ids in pending.items()])
            after = {stream: b"(" + ids[-1] for stream, ids in pending.items()}
        farewell = (b"XADD", self._farewells, b"NOMKSTREAM", b"MAXLEN", 1, b"*", b"left", self._consumer)
        going = [leaving(stream, self._group, self._consumer) for stream in (*self._topics, self._farewells)]
        await self._link.run([*([farewell] if leaves_some else []), *going])

    def _forsaking(self, stream: bytes, ids: Sequence[bytes]) -> Command:
        claiming = (b"XCLAIM", stream, self._group, self._consumer, 0, *ids)
        return (*claiming, b"IDLE", FORSAKEN_MS, b"JUSTID")
