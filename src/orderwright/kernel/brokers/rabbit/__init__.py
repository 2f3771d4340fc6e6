"""RabbitMQ through aiormq: what is published is confirmed, what is handled is acknowledged, what is lost is made again.

One connection publishes and declares; each subscription has one of its own, so that a slow or broken consumer holds up
nobody else. Invariant: `publish` returns when a majority of every queue that a message was routed to has it on disk.
What was declared is declared again on each new connection, before anything is published on it: a broker that came back
empty gets its queues before its messages.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiormq import Channel, Connection
from aiormq.abc import ChannelFrame

from orderwright.kernel.broker import Backlog, Capabilities
from orderwright.kernel.brokers.rabbit.connecting import Farewells, Target
from orderwright.kernel.brokers.rabbit.subscription import RabbitSubscription
from orderwright.kernel.brokers.rabbit.topology import declare, exchange_name, waiting
from orderwright.kernel.brokers.rabbit.wire import frames_of
from orderwright.kernel.clock import Clock, SystemClock
from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError
from orderwright.kernel.ids import Ids, SystemIds
from orderwright.kernel.messages import Message

MOST_AT_ONCE = 500
"""Messages whose confirmations are waited for together."""
PUBLISH_WITHIN_S = 5.0
DECLARE_WITHIN_S = 30.0
BLOCKED_AFTER_S = 0.05


class _Line(NamedTuple):
    """The connection for publishing and the channel with confirmations on it."""

    connection: Connection
    channel: Channel


class RabbitBroker:
    """All of one process's dealings with one RabbitMQ."""

    capabilities = Capabilities(durable=True, shared=True, ordered_between_consumers=False, parallel_publishes=4)

    def __init__(self, url: str, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self._target = Target.of(url)
        self._clock = clock or SystemClock()
        self._ids = ids or SystemIds()
        self._audience: dict[str, set[str]] = {}
        self._line: _Line | None = None
        self._opening = asyncio.Lock()
        self._farewells = Farewells()
        self._subscriptions: list[RabbitSubscription] = []
        self._closed = False

    async def publish(self, messages: Sequence[Message]) -> None:
        for start in range(0, len(messages), MOST_AT_ONCE):
            await self._publish(messages[start : start + MOST_AT_ONCE])

    async def declare(self, audience: Mapping[str, Sequence[str]]) -> None:
        async with self._target.asked_to("declare queues", within_s=DECLARE_WITHIN_S):
            line = await self._open_line()
            await declare(line.connection, self._target, audience, self._clock)
        for group, topics in audience.items():
            self._audience.setdefault(group, set()).update(topics)

    async def subscribe(self, group: str, topics: Sequence[str], *, max_batch: int = 100) -> RabbitSubscription:
        if self._closed:
            raise BrokerUnavailable("This RabbitMQ client is closed")
        self._subscriptions = [subscription for subscription in self._subscriptions if not subscription.closed]
        subscription = RabbitSubscription(self._target, group, topics, max_batch, self._clock, self._ids)
        await subscription.open()
        if self._closed:
            await subscription.close()
            raise BrokerUnavailable("This RabbitMQ client was closed")
        self._subscriptions.append(subscription)
        return subscription

    async def backlog(self, audience: Mapping[str, Sequence[str]]) -> Mapping[str, Backlog]:
        """As AMQP tells it: what waits in the queues, and whether consumers may have more in hand."""
        async with self._target.asked_to("tell what waits", within_s=DECLARE_WITHIN_S):
            line = await self._open_line()
            return {group: await waiting(line.connection, self._target, group) for group in audience}

    async def ping(self) -> None:
        try:
            async with self._target.asked_to("answer", within_s=PUBLISH_WITHIN_S):
                line = await self._open_line()
                await line.connection.ready()
                channel = await line.connection.channel(publisher_confirms=False)
                await channel.close()
        except ConfigurationError as error:
            raise BrokerUnavailable(str(error)) from error

    async def close(self) -> None:
        self._closed = True
        if self._line is not None:
            self._drop(self._line)
        await asyncio.gather(*(subscription.close() for subscription in self._subscriptions), self._farewells.wait())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _publish(self, messages: Sequence[Message]) -> None:
        exchange = exchange_name(self._target)
        line: _Line | None = None
        try:
            async with self._target.asked_to("take what was published", within_s=PUBLISH_WITHIN_S):
                line = await self._open_line()
                await line.connection.ready()  # waits while an alarm of the broker's blocks publishers
                size = line.channel.max_content_size
                frames = [frame for message in messages for frame in frames_of(message, exchange, size)]
                confirmations = await self._send(line, len(messages), frames)
                await asyncio.gather(*confirmations)
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, TimeoutError) and line is not None and not await _is_blocked(line):
                self._drop(line)
            raise
        except ConfigurationError as error:
            raise BrokerUnavailable(str(error)) from error

    async def _send(self, line: _Line, count: int, frames: Sequence[Any]) -> "list[asyncio.Future[Any]]":
        """Write a batch in one piece; message by message, as the client does it, costs three times as much."""
        channel = line.channel
        written = ChannelFrame.marshall(channel.number, frames)
        async with channel.lock:
            first = channel.delivery_tag + 1
            confirmations = [channel.create_future() for _ in range(count)]
            channel.confirmations.update(enumerate(confirmations, first))
            channel.delivery_tag += count
            try:
                await channel.write_queue.put(written)
            except BaseException:
                # The broker numbers what it gets; from here on its numbers would not be ours.
                self._drop(line)
                raise
        return confirmations

    async def _open_line(self) -> _Line:
        if self._closed:
            raise BrokerUnavailable("This RabbitMQ client is closed")
        async with self._opening:
            if self._line is not None:
                if self._line.connection.is_opened and not self._line.channel.is_closed:
                    return self._line
                self._drop(self._line)
            connection = await self._target.connect("publishing")
            try:
                audience = {group: sorted(topics) for group, topics in self._audience.items()}
                await declare(connection, self._target, audience, self._clock)
                channel = await connection.channel()
                assert isinstance(channel, Channel)
            except BaseException:
                self._farewells.bid(connection)
                raise
            self._line = _Line(connection, channel)
            return self._line

    def _drop(self, line: _Line) -> None:
        if self._line is line:
            self._line = None
            self._farewells.bid(line.connection)


async def _is_blocked(line: _Line) -> bool:
    """Whether an alarm of the broker's (memory, disk) keeps it from reading what is published.

    Then the connection stays: the broker has not forgotten what it has not read, and each new one would add to that.
    """
    try:
        async with asyncio.timeout(BLOCKED_AFTER_S):
            await line.connection.ready()
    except TimeoutError:
        return True
    return False
