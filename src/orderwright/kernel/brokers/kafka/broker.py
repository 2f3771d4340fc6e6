"""Kafka behind the broker port.

An event's topic is Kafka's topic, its key the record's key, its attributes are headers, its payload is the value. A
group is a consumer group that begins at the oldest record, so a declared group misses nothing that was published before
its first consumer came, for as long as the topic's retention keeps it. Kafka forgets the offsets of a group that was
empty for `offsets.retention.minutes` (seven days by default); that group then hears what is kept once more.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer

from orderwright.kernel.broker import Backlog, Capabilities
from orderwright.kernel.brokers.kafka import topics as kafka_topics
from orderwright.kernel.brokers.kafka.backlog import count_behind
from orderwright.kernel.brokers.kafka.clients import quieten
from orderwright.kernel.brokers.kafka.options import parsed
from orderwright.kernel.brokers.kafka.publisher import Publisher
from orderwright.kernel.brokers.kafka.subscription import KafkaSubscription
from orderwright.kernel.clock import Clock, SystemClock
from orderwright.kernel.ids import Ids, SystemIds
from orderwright.kernel.messages import Message

FETCH_WAIT_S = 3.0
"""So long the broker holds a request for records when there are none; new ones are sent at once."""
FETCH_BYTES = 8 * 1024 * 1024
HEARTBEAT_S = 3.0
REBALANCE_TIMEOUT_S = 30.0
"""More than a heartbeat, `DRAIN_S` and `LAST_COMMIT_S` of a subscription together."""
REQUEST_TIMEOUT_S = 40.0
"""More than REBALANCE_TIMEOUT_S: joining a group waits for all of its members."""
RETRY_S = 0.5
"""Between attempts, on average: the library waits always the same time, so each consumer is given its own."""
METADATA_AGE_S = 60.0
DAY_S = 86_400.0


class KafkaBroker:
    """A cluster, one producer, and a consumer for each subscription."""

    capabilities = Capabilities(durable=True, shared=True, ordered_between_consumers=True, parallel_publishes=4)

    def __init__(self, url: str, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self._options = parsed(url)
        self._clock = clock or SystemClock()
        self._ids = ids or SystemIds()
        self._made: set[str] = set()
        self._publisher = Publisher(self._options, self._make_topics)
        self._subscriptions: set[KafkaSubscription] = set()
        quieten()

    async def publish(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        try:
            await self._publisher.publish(messages)
        except BaseException:
            # Perhaps somebody deleted the topic; then it is made again.
            self._made.clear()
            raise

    async def declare(self, audience: Mapping[str, Sequence[str]]) -> None:
        """Make the topics. A group needs nothing: it begins at the oldest record."""
        await self._make_topics(sorted({topic for heard in audience.values() for topic in heard}))

    async def subscribe(self, group: str, topics: Sequence[str], *, max_batch: int = 100) -> KafkaSubscription:
        await self._make_topics(topics)
        subscription = KafkaSubscription(
            lambda: self._consumer(group),
            topics,
            prefix=self._options.prefix,
            max_batch=max_batch,
            clock=self._clock,
            ids=self._ids,
        )
        self._subscriptions.add(subscription)
        return subscription

    async def backlog(self, audience: Mapping[str, Sequence[str]]) -> Mapping[str, Backlog]:
        """By offsets: all that lies behind what each group has committed, whether somebody has it in hand or not."""
        prefix = self._options.prefix
        asked = {prefix + group: [prefix + topic for topic in topics] for group, topics in audience.items()}
        behind = await count_behind(self._options, asked)
        return {group: Backlog(behind[prefix + group]) for group in audience}

    async def ping(self) -> None:
        await kafka_topics.ping(self._options)

    async def close(self) -> None:
        ending = [subscription.close() for subscription in self._subscriptions]
        self._subscriptions.clear()
        await asyncio.gather(self._publisher.close(), *ending)

    async def _make_topics(self, topics: Sequence[str]) -> None:
        missing = [topic for topic in topics if topic not in self._made]
        if missing:
            await kafka_topics.make(self._options, [self._options.prefix + topic for topic in missing])
            self._made.update(missing)

    def _consumer(self, group: str) -> AIOKafkaConsumer:
        session_s = self._options.session_timeout_s
        return AIOKafkaConsumer(
            **self._options.for_client(REQUEST_TIMEOUT_S),
            group_id=self._options.prefix + group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            session_timeout_ms=session_s * 1000,
            heartbeat_interval_ms=int(min(HEARTBEAT_S, session_s / 3) * 1000),
            rebalance_timeout_ms=int(REBALANCE_TIMEOUT_S * 1000),
            # A consumer that waits for its database takes nothing for as long as that lasts, and is alive all the same.
            max_poll_interval_ms=int(DAY_S * 1000),
            fetch_max_wait_ms=int(FETCH_WAIT_S * 1000),
            fetch_max_bytes=FETCH_BYTES,
            retry_backoff_ms=int(RETRY_S * (0.5 + self._ids.jitter()) * 1000),
            # How often the library's loop looks around without a cause; everything that it waits for wakes it up.
            consumer_timeout_ms=int(FETCH_WAIT_S * 1000),
            metadata_max_age_ms=int(METADATA_AGE_S * 1000),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
