"""A group's door on RabbitMQ: one connection at a time, replaced by itself when it is lost.

Invariants: a delivery tag means something only on the connection that brought it, so acknowledgements of another one
are dropped, and what they were for comes again. What came back often is taken one at a time: what kills whoever takes
it then spends only its own delivery limit, not that of the messages which happened to be fetched with it. A broker that
holds messages on a sound connection and delivers none (rabbitmq-server issues 641, 1825, 17317) is left and joined
anew, for that is what has it deliver again.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from aiormq import Connection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from orderwright.kernel.broker import Delivery
from orderwright.kernel.brokers.rabbit.connecting import Farewells, Target, told
from orderwright.kernel.brokers.rabbit.topology import declare, queue_name, waiting
from orderwright.kernel.brokers.rabbit.wire import delivery_of, times_returned
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError
from orderwright.kernel.ids import Ids
from orderwright.kernel.retry import Backoff

log = structlog.get_logger(__name__)

BATCHES_AHEAD = 3
"""One is being handled, one waits, one is on its way; nothing more comes before something was acknowledged."""
CONSUMER = "orderwright"
"""A name of ours: what comes first may be here before the broker's answer with a name that it chose."""
ANSWER_WITHIN_S = 10.0
ACKNOWLEDGE_WITHIN_S = 5.0
LEAVE_WITHIN_S = 1.0
RECONNECT = Backoff(first_s=0.2, factor=2, max_s=5, attempts=None)
LOOK_EVERY_S = 15.0
"""How often a consumer to which nothing comes asks whether something waits; twice in a row is no coincidence."""
SETTLED_S = 60.0
"""A connection that held so long, or on which something was done, was no failed attempt."""


class Token(NamedTuple):
    """What an acknowledgement needs."""

    session: "_Session"
    tag: int


class _Session:
    """What came over one connection, and what of it is not acknowledged yet."""

    def __init__(self, connection: Connection, channel: AbstractChannel, wake: asyncio.Event) -> None:
        self.connection = connection
        self.lost = asyncio.Event()
        self.reason = ""
        self.was_useful = False
        self.arrivals = 0
        self._channel = channel
        self._wake = wake
        self._fetched: deque[Delivery] = deque()
        self._handed_out: set[int] = set()
        self._acknowledged = asyncio.Event()
        self._alone: asyncio.Task[None] | None = None

    async def begin(self, queue: str, *, prefetch: int, suspicious_after: int) -> None:
        """Take one message; more at a time once one came that did not come back often."""
        self._queue, self._prefetch, self._suspicious_after = queue, prefetch, suspicious_after
        self._channel.on_consumer_cancel_callbacks.add(lambda _: self.lose("the queue was deleted or moved"))
        for closing in (self._channel.closing, self.connection.closing):
            closing.add_done_callback(self._closed)
        if await self._take_one():
            self._alone = asyncio.create_task(self._take_one_by_one())
        else:
            await self._take_many()

    @property
    def has_more(self) -> bool:
        """Whether something was fetched and not handed over."""
        return bool(self._fetched)

    @property
    def holds_nothing(self) -> bool:
        """Whether all that came was handed over and acknowledged."""
        return not self._fetched and not self._handed_out

    def take(self, most: int) -> list[Delivery]:
        """Hand over what is there."""
        batch = [self._fetched.popleft() for _ in range(min(most, len(self._fetched)))]
        self._handed_out.update(delivery.token.tag for delivery in batch)
        return batch

    async def acknowledge(self, tags: set[int]) -> None:
        """Tell the broker, in one frame where nothing older is still open."""
        # The broker ends a channel that acknowledges a tag twice.
        tags = tags & self._handed_out
        self._handed_out -= tags
        oldest_open = min(self._handed_out, default=None)
        before = [tag for tag in tags if oldest_open is None or tag < oldest_open]
        if before:
            await self._channel.basic_ack(max(before), multiple=True, wait=False)
        for tag in sorted(tags.difference(before)):
            await self._channel.basic_ack(tag, wait=False)
        self.was_useful = True
        self._acknowledged.set()

    async def stop(self) -> None:
        """Fetch no more. The broker's answer follows everything that was acknowledged before."""
        if self._alone is not None:
            self._alone.cancel()
        await self._channel.basic_cancel(CONSUMER, timeout=LEAVE_WITHIN_S)

    def lose(self, reason: str) -> None:
        """Nothing comes or goes here any more; the broker delivers again what is open."""
        if not self.lost.is_set():
            self.reason = reason
            self._fetched.clear()
            if self._alone is not None:
                self._alone.cancel()
            self.lost.set()

    async def _take_one_by_one(self) -> None:
        try:
            suspicious = True
            while suspicious:
                await self._acknowledged.wait()
                suspicious = await self._take_one()
            await self._take_many()
        except Exception as error:
            self.lose(told(error))

    async def _take_one(self) -> bool:
        """Fetch the message that is first, if there is one; answers whether it came back often."""
        self._acknowledged.clear()
        incoming = await self._channel.basic_get(self._queue, timeout=ANSWER_WITHIN_S)
        if not isinstance(incoming.delivery, Basic.GetOk):
            return False
        await self._arrived(incoming)
        return times_returned(incoming) >= self._suspicious_after

    async def _take_many(self) -> None:
        await self._channel.basic_qos(prefetch_count=self._prefetch, timeout=ANSWER_WITHIN_S)
        await self._channel.basic_consume(self._queue, self._arrived, consumer_tag=CONSUMER, timeout=ANSWER_WITHIN_S)

    async def _arrived(self, incoming: DeliveredMessage) -> None:
        if not self.lost.is_set():
            self.arrivals += 1
            self._fetched.append(delivery_of(incoming, Token(self, incoming.delivery_tag or 0)))
            self._wake.set()

    def _closed(self, closing: "asyncio.Future[None]") -> None:
        self.lose("it was closed" if closing.cancelled() else told(closing.exception()))


class RabbitSubscription:
    """One consumer of a group."""

    def __init__(
        self, target: Target, group: str, topics: Sequence[str], max_batch: int, clock: Clock, ids: Ids
    ) -> None:
        self._target = target
        self._group = group
        self._topics = list(topics)
        self._max_batch = max_batch
        self._clock = clock
        self._ids = ids
        self._wake = asyncio.Event()
        self.closed = False
        self._farewells = Farewells()

    async def open(self) -> None:
        """Join for the first time. BrokerUnavailable; ConfigurationError."""
        self._session = await self._join()
        self._keeper = asyncio.create_task(self._keep_joined())
        self._keeper.add_done_callback(lambda _: self._wake.set())

    @property
    def more_waits(self) -> bool:
        return self._session.has_more

    async def receive(self) -> Sequence[Delivery]:
        while not self.closed:
            if batch := self._session.take(self._max_batch):
                return batch
            if self._keeper.done():
                self._keeper.result()  # it ends only by a mistake of ours, which must not look like silence
            self._wake.clear()
            await self._wake.wait()
        return []

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        session = self._session
        tags = {delivery.token.tag for delivery in deliveries if delivery.token.session is session}
        if not tags or self.closed or session.lost.is_set():
            return
        try:
            async with self._target.asked_to("take acknowledgements", within_s=ACKNOWLEDGE_WITHIN_S):
                await session.acknowledge(tags)
        except BrokerUnavailable as error:
            session.lose(str(error))

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._wake.set()
        self._keeper.cancel()
        await asyncio.wait([self._keeper], timeout=LEAVE_WITHIN_S / 2)
        if not self._session.lost.is_set():
            try:
                async with self._target.asked_to("let a consumer go", within_s=LEAVE_WITHIN_S):
                    await self._session.stop()
            except BrokerUnavailable as error:
                log.debug("consumer_left_unheard", group=self._group, reason=str(error))
            self._session.lose("closed")
        self._farewells.bid(self._session.connection)
        await self._farewells.wait()

    async def _keep_joined(self) -> None:
        failures = 0
        while True:
            began_s = self._clock.monotonic_s()
            looking = asyncio.create_task(self._look_after(self._session))
            try:
                await self._session.lost.wait()
            finally:
                looking.cancel()
            log.warning("consumer_lost_broker", group=self._group, reason=self._session.reason)
            self._farewells.bid(self._session.connection)
            if self._session.was_useful or self._clock.monotonic_s() - began_s > SETTLED_S:
                failures = 0
            failures = await self._join_again(failures)
            log.info("consumer_found_broker", group=self._group)

    async def _look_after(self, session: _Session) -> None:
        """Give up a session to which nothing comes although something waits, at two looks in a row."""
        in_vain = 0
        while in_vain < 2:
            arrivals = session.arrivals
            await self._clock.sleep(LOOK_EVERY_S)
            in_vain = in_vain + 1 if session.arrivals == arrivals and await self._something_waits(session) else 0
        session.lose("messages wait, and none is delivered")

    async def _something_waits(self, session: _Session) -> bool:
        if not session.holds_nothing:
            return False
        try:
            async with self._target.asked_to("tell what waits", within_s=ANSWER_WITHIN_S):
                return bool((await waiting(session.connection, self._target, self._group)).count)
        except BrokerUnavailable as error:
            session.lose(str(error))
            return False

    async def _join_again(self, failures: int) -> int:
        """Try until it succeeds; answers how many attempts there were in a row, this one too until it proves useful."""
        complaint = ""
        while True:
            failures += 1
            await self._clock.sleep(RECONNECT.delay_s(failures, self._ids.jitter()) or 0)
            try:
                self._session = await self._join()
            except BrokerUnavailable as error:
                log.debug("consumer_waits_for_broker", group=self._group, reason=str(error))
            except ConfigurationError as error:
                if str(error) != complaint:
                    log.error("consumer_cannot_join", group=self._group, reason=str(error))
                complaint = str(error)
            else:
                # What it fetched while this was still the old one has woken nobody who could take it.
                self._wake.set()
                return failures

    async def _join(self) -> _Session:
        async with self._target.asked_to(f"let {self._group} consume", within_s=ANSWER_WITHIN_S):
            connection = await self._target.connect(self._group)
            try:
                await declare(connection, self._target, {self._group: self._topics}, self._clock)
                channel = await connection.channel(publisher_confirms=False)
                session = _Session(connection, channel, self._wake)
                await session.begin(
                    queue_name(self._target, self._group),
                    prefetch=BATCHES_AHEAD * self._max_batch,
                    suspicious_after=max(1, self._target.delivery_limit // 10),
                )
            except BaseException:
                self._farewells.bid(connection)
                raise
        return session
