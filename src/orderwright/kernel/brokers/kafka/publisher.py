"""Sends batches: one producer, made when it is needed and given up when it fails.

Invariants: batches enter the producer in the order of the calls, so the order per key holds also with several calls at
once. The producer is idempotent: what it repeats by itself neither doubles nor overtakes. When a call fails, all that
the producer still holds is given up with it, so nothing is sent later behind the back of who publishes it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer

from orderwright.kernel.brokers.kafka.clients import end_producer
from orderwright.kernel.brokers.kafka.options import Options
from orderwright.kernel.errors import BrokerUnavailable
from orderwright.kernel.messages import Message

TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 4.0
BATCH_BYTES = 256 * 1024
"""Of one partition's share of a request; the library's own 16 KiB makes several requests of 200 messages."""


class Publisher:
    """The way out to the cluster."""

    def __init__(self, options: Options, make_topics: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        self._options = options
        self._make_topics = make_topics
        self._producer: AIOKafkaProducer | None = None
        self._turn = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send a batch and wait until every replica in sync has it. BrokerUnavailable after some 5 s."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                async with self._turn:
                    sent = await self._enqueue(messages)
                await asyncio.gather(*sent)
        except BrokerUnavailable:
            raise
        except Exception as error:
            # The library fails in many ways, and each of them leaves it open what has arrived.
            self._give_up()
            raise BrokerUnavailable(f"Kafka did not confirm {len(messages)} messages: {error!r}") from error

    async def close(self) -> None:
        """Let go of every connection; what is being published fails."""
        self._closed = True
        self._give_up()
        await asyncio.gather(*self._ending)

    async def _enqueue(self, messages: Sequence[Message]) -> list["asyncio.Future[object]"]:
        if self._closed:
            raise BrokerUnavailable("This connection to Kafka was closed")
        await self._make_topics(sorted({message.topic for message in messages}))
        producer, prefix = self._producer or await self._begin(), self._options.prefix
        return [
            await producer.send(
                prefix + message.topic,
                message.body,
                message.key.encode(),
                headers=[(name, value.encode()) for name, value in message.headers().items()],
            )
            for message in messages
        ]

    async def _begin(self) -> AIOKafkaProducer:
        producer = self._producer = AIOKafkaProducer(
            **self._options.for_client(REQUEST_TIMEOUT_S),
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
        )
        await producer.start()
        return producer

    def _give_up(self) -> None:
        """Forget the producer; it is ended in the background, and the next call makes another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            task = asyncio.create_task(end_producer(producer, 2.0))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
