"""A group's door to its topics: a consumer that fetches in the background, and offsets that follow the work.

Invariants: an offset is committed only after all that was handed out before it was acknowledged. Partitions are given
back only after what was handed out of them was acknowledged and committed, or 20 s have passed; nothing else of theirs
is handed out meanwhile. A consumer that fails is replaced; who receives never notices more than a pause.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from orderwright.kernel.broker import Delivery
from orderwright.kernel.brokers.kafka.clients import end_consumer, fetch_all_or_nothing
from orderwright.kernel.brokers.kafka.offsets import Partition, Progress
from orderwright.kernel.clock import Clock
from orderwright.kernel.ids import Ids
from orderwright.kernel.retry import Backoff

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0
SILENT_AFTER_S = 15.0
REPLACE_AFTER_S = 90.0
"""The library's consumers get over an outage; one that did nothing for so long may never come back by itself."""
AT_ONCE_S = 0.001
"""What is had so soon was there already."""
MORE_WITHIN_S = 0.005
COMMIT_EVERY_S = 0.5
DRAIN_S = 20.0
LAST_COMMIT_S = 3.0
LEAVE_S = 1.5
AGAIN = Backoff(first_s=0.5, factor=2, max_s=10, attempts=None)


class KafkaSubscription:
    """One consumer of a group."""

    def __init__(
        self,
        make_consumer: Callable[[], AIOKafkaConsumer],
        topics: Sequence[str],
        *,
        prefix: str,
        max_batch: int,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._make_consumer = make_consumer
        self._topics = [prefix + topic for topic in topics]
        self._prefix = prefix
        self._max_batch = max_batch
        self._clock = clock
        self._ids = ids
        self._consumer: AIOKafkaConsumer | None = None
        self._progress = Progress()
        self._buffer: deque[Any] = deque()
        self._filled = asyncio.Event()
        self._wanted = asyncio.Event()
        """Somebody waits for more than there is. Until then the library holds what one request has brought and makes no
        other: each names every partition, which takes about a millisecond."""
        self._settled = asyncio.Event()
        self._drained = asyncio.Event()
        self._committing: asyncio.Task[None] | None = None
        self._closed = False
        self._silent = False
        self._look_at_s = 0.0
        self._failures = 0
        self._running = asyncio.create_task(self._run())

    @property
    def more_waits(self) -> bool:
        return bool(self._buffer)

    async def receive(self) -> Sequence[Delivery]:
        """Wait for records. What was not taken from the buffer stays in it, so a wait may be cancelled."""
        while not self._buffer and not self._closed:
            self._filled.clear()
            self._wanted.set()
            await self._filled.wait()
        if self._closed:
            return []
        return [self._hand_out(self._buffer.popleft()) for _ in range(min(self._max_batch, len(self._buffer)))]

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Note it; the commit follows within COMMIT_EVERY_S. What an earlier assignment handed out is ignored."""
        for delivery in deliveries:
            progress, partition, offset = delivery.token
            if progress is self._progress:
                progress.acknowledged(partition, offset)
        self._settled.set()
        if not self._progress.outstanding:
            self._drained.set()

    async def close(self) -> None:
        """Commit what was acknowledged and leave the group, so that others get the rest at once; at most 5 s."""
        self._closed = True
        self._filled.set()
        self._drained.set()
        await self._commit_finally(LEAVE_S)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def taken_away(self) -> None:
        """The group is being shared out anew: finish what was begun."""
        self._buffer.clear()
        self._drained.clear()
        if self._progress.outstanding and not self._closed:
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self._drained.wait()
            except TimeoutError:
                log.warning("kafka_handed_on_unfinished", topics=self._topics, messages=self._progress.outstanding)
        await self._commit_finally(LAST_COMMIT_S)
        self._progress = Progress()

    async def given(self) -> None:
        """Partitions were assigned; from now on their offsets are committed."""
        self._committing = asyncio.create_task(self._commit_forever())

    def _hand_out(self, record: Any) -> Delivery:
        partition = (record.topic, record.partition)
        self._progress.handed_out(partition, record.offset)
        return Delivery(
            topic=record.topic.removeprefix(self._prefix),
            key=(record.key or b"").decode(errors="replace"),
            headers={name: (value or b"").decode(errors="replace") for name, value in record.headers},
            body=record.value or b"",
            token=(self._progress, partition, record.offset),
        )

    async def _run(self) -> None:
        while True:
            consumer = self._consumer = self._make_consumer()
            try:
                consumer.subscribe(self._topics, listener=_Listener(self))
                async with asyncio.timeout(REPLACE_AFTER_S):
                    await consumer.start()
                fetch_all_or_nothing(consumer)
                await self._fetch_forever(consumer)
            except Exception as error:
                # The library's consumers die of errors of many kinds; none of them is a reason not to try again.
                self._failures += 1
                if self._failures == 1:
                    log.warning("kafka_consumer_begins_anew", topics=self._topics, reason=repr(error))
            finally:
                self._buffer.clear()
                self._progress = Progress()
                await self._stop_committing()
                await end_consumer(consumer, LEAVE_S)
            await self._clock.sleep(AGAIN.delay_s(self._failures, self._ids.jitter()) or 0)

    async def _fetch_forever(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await self._wanted.wait()
            began_s = self._clock.monotonic_s()
            # While the group is shared out anew this waits for longer than it was told to.
            async with asyncio.timeout(REPLACE_AFTER_S):
                fetched = await self._fetch(consumer, LOOK_EVERY_S)
                if fetched and self._clock.monotonic_s() - began_s < AT_ONCE_S:
                    # It lay there since the last ones were taken, and nothing was asked for since: what came meanwhile
                    # would have to wait for the batch after this.
                    await self._fetch(consumer, MORE_WITHIN_S)
            self._failures = 0
            if fetched:
                self._wanted.clear()
                self._filled.set()
            self._notice_silence(consumer)

    async def _fetch(self, consumer: AIOKafkaConsumer, timeout_s: float) -> bool:
        fetched = await consumer.getmany(timeout_ms=int(timeout_s * 1000))
        for records in fetched.values():
            self._buffer.extend(records)
        return bool(fetched)

    def _notice_silence(self, consumer: AIOKafkaConsumer) -> None:
        """The library waits out an outage without a word to its user: say so once, and when it is over."""
        if self._clock.monotonic_s() < self._look_at_s:
            return
        self._look_at_s = self._clock.monotonic_s() + 1.0
        answers_ms = [consumer.last_poll_timestamp(partition) or 0 for partition in consumer.assignment()]
        latest_s = max(answers_ms, default=0) / 1000
        silent_s = self._clock.now().timestamp() - latest_s if latest_s else 0
        if (silent_s > SILENT_AFTER_S) != self._silent:
            self._silent = not self._silent
            log.warning("kafka_is_silent" if self._silent else "kafka_answers_again", topics=self._topics)
        if silent_s > REPLACE_AFTER_S:
            raise TimeoutError(f"Kafka has answered no request for {REPLACE_AFTER_S:.0f} s")

    async def _commit_forever(self) -> None:
        while True:
            await self._settled.wait()
            self._settled.clear()
            await self._commit()
            await self._clock.sleep(COMMIT_EVERY_S)

    async def _commit(self) -> None:
        progress, offsets = self._progress, self._progress.to_commit()
        if not offsets or self._consumer is None:
            return
        try:
            await self._consumer.commit({TopicPartition(*partition): at for partition, at in offsets.items()})
        except Exception as error:
            # Whatever went wrong: what the broker did not hear comes again, and the inbox knows it.
            log.info("kafka_offsets_not_committed", topics=self._topics, reason=repr(error))
        else:
            progress.committed(offsets)

    async def _commit_finally(self, timeout_s: float) -> None:
        await self._stop_committing()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._commit()

    async def _stop_committing(self) -> None:
        # A commit that is being repeated must not come after a later one, nor after the partitions are somebody else's.
        task, self._committing = self._committing, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the subscription what the library says about the group."""

    def __init__(self, subscription: KafkaSubscription) -> None:
        self._subscription = subscription

    async def on_partitions_revoked(self, revoked: Sequence[Partition]) -> None:  # noqa: ARG002
        await self._subscription.taken_away()

    async def on_partitions_assigned(self, assigned: Sequence[Partition]) -> None:  # noqa: ARG002
        await self._subscription.given()
