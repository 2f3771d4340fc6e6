"""The port on Redis Streams: publishing in one order, declaring groups, and looking after the streams.

Invariants: all publishing of a process goes one way, one batch after the other, each inside MULTI and EXEC: a batch is
taken whole or not at all, and nothing that was said later gets past what failed. What was declared here is declared
again when Redis has forgotten it.
"""

import asyncio
import socket
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import structlog

from orderwright.kernel.batching import Gathered
from orderwright.kernel.broker import Backlog, Capabilities
from orderwright.kernel.brokers.redis import backlog, upkeep
from orderwright.kernel.brokers.redis.connection import LET_GO_S, Address, Link, granted, refused
from orderwright.kernel.brokers.redis.entries import adding
from orderwright.kernel.brokers.redis.subscription import RedisSubscription
from orderwright.kernel.clock import Clock, SystemClock
from orderwright.kernel.errors import BrokerUnavailable
from orderwright.kernel.ids import Ids, SystemIds
from orderwright.kernel.messages import Message

log = structlog.get_logger(__name__)

PARALLEL = 8
MAX_BATCH = 500
MAX_BATCH_BYTES = 4 * 1024 * 1024


class RedisBroker:
    """One Redis server; see the package for the mapping and the URL."""

    capabilities = Capabilities(durable=True, shared=True, ordered_between_consumers=False, parallel_publishes=PARALLEL)

    def __init__(self, url: str, *, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self._address = Address.parse(url)
        self._clock: Clock = clock or SystemClock()
        self._ids: Ids = ids or SystemIds()
        self._link = Link(self._address)
        self._publishing: Gathered[tuple[int, Sequence[Message]], None] = Gathered(self._send, max_batch=PARALLEL)
        self._failures = 0
        self._groups: dict[str, set[bytes]] = {}
        self._streams: set[bytes] = set()
        """All that this process has declared or published to."""
        self._subscriptions: list[RedisSubscription] = []
        self._upkeep: asyncio.Task[None] | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        self._begin_upkeep()
        if messages:
            await self._publishing.submit((self._failures, messages))

    async def declare(self, audience: Mapping[str, Sequence[str]]) -> None:
        self._begin_upkeep()
        for group, topics in audience.items():
            self._groups.setdefault(group, set()).update((*map(self._stream, topics), self._farewells(group)))
        await self._prepare()

    async def subscribe(self, group: str, topics: Sequence[str], *, max_batch: int = 100) -> RedisSubscription:
        await self.declare({group: topics})
        subscription = RedisSubscription(
            group,
            {self._stream(topic): topic for topic in topics},
            self._farewells(group),
            self._address,
            max_batch=max_batch,
            link=self._link,
            prepare=self._prepare,
            clock=self._clock,
            ids=self._ids,
            consumer=f"{socket.gethostname()}-{self._ids.new()}",
        )
        self._subscriptions = [one for one in self._subscriptions if not one.closed] + [subscription]
        return subscription

    async def backlog(self, audience: Mapping[str, Sequence[str]]) -> Mapping[str, Backlog]:
        streams = {group: [self._stream(topic) for topic in topics] for group, topics in audience.items()}
        return {group: Backlog(await backlog.count(self._link, group, heard)) for group, heard in streams.items()}

    async def ping(self) -> None:
        [reply] = await self._link.run([(b"PING",)])
        granted(reply)

    async def close(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait({self._upkeep}, timeout=LET_GO_S)
        await asyncio.gather(*(subscription.close() for subscription in self._subscriptions))
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def trim(self) -> None:
        """Remove what no group needs and nobody keeps. It is done every minute without being asked."""
        await upkeep.trim(self._link, sorted(self._streams), self._address.keep_s)

    def _stream(self, topic: str) -> bytes:
        return f"{self._address.prefix}{topic}".encode()

    def _farewells(self, group: str) -> bytes:
        return self._stream(f"~{group}")

    async def _prepare(self) -> None:
        """Make all groups that were ever declared here, on all of their streams. Those that are there stay."""
        wanted = [(stream, group) for group, streams in self._groups.items() for stream in sorted(streams)]
        self._streams.update(stream for stream, _ in wanted)
        replies = await self._link.run(
            [(b"XGROUP", b"CREATE", stream, group, b"0", b"MKSTREAM") for stream, group in wanted]
        )
        for reply in replies:
            if not refused(reply, because="BUSYGROUP"):
                granted(reply)

    async def _send(self, calls: Sequence[tuple[int, Sequence[Message]]]) -> Sequence[BrokerUnavailable | None]:
        """Carry out calls of `publish` that arrived together, or none of them."""
        if self._failures != calls[0][0]:
            # They waited behind one that failed, and would now get past it.
            return [BrokerUnavailable("Redis failed an earlier batch; this one waits for it")] * len(calls)
        try:
            for batch in _batches([message for _, messages in calls for message in messages]):
                await self._add(batch)
        except BrokerUnavailable as error:
            self._failures += 1
            return [BrokerUnavailable(str(error)) for _ in calls]
        return [None] * len(calls)

    async def _add(self, messages: Sequence[Message]) -> None:
        streams = {message.topic: self._stream(message.topic) for message in messages}
        self._streams.update(streams.values())
        adding_all = [adding(streams[message.topic], message) for message in messages]
        *queued, done = await self._link.run([(b"MULTI",), *adding_all, (b"EXEC",)])
        # What was refused while it was queued says why; EXEC then only says that.
        for reply in queued:
            granted(reply)
        for message, reply in zip(messages, granted(done), strict=True):
            if refused(reply):  # the key is no stream, for example
                raise BrokerUnavailable(f"Redis refuses to add to {self._stream(message.topic).decode()!r}: {reply}")

    def _begin_upkeep(self) -> None:
        if self._upkeep is None:
            self._upkeep = asyncio.create_task(self._keep_up())

    async def _keep_up(self) -> None:
        await _attempted(upkeep.look_at_settings(self._link))
        while True:
            await self._clock.sleep(upkeep.EVERY_S * (1 + self._ids.jitter() / 4))
            await _attempted(self._look_after())

    async def _look_after(self) -> None:
        await self._prepare()
        await upkeep.trim(self._link, await upkeep.lease(self._link, sorted(self._streams)), self._address.keep_s)


async def _attempted(work: Awaitable[None]) -> None:
    """Do what can wait until the next time, and must not end because it failed once."""
    try:
        await work
    except BrokerUnavailable as error:
        log.info("redis_not_looked_after", reason=str(error))
    except Exception:
        log.exception("redis_not_looked_after")


def _batches(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Cut `messages` where a transaction would become too long for the others that Redis serves."""
    start = size = 0
    for end, message in enumerate(messages):
        size += len(message.body)
        if end > start and (end - start >= MAX_BATCH or size > MAX_BATCH_BYTES):
            yield messages[start:end]
            start, size = end, len(message.body)
    if start < len(messages):
        yield messages[start:]
