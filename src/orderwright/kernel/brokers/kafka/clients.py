"""The client library's edges: how its clients are ended in bounded time, and how it is kept from shouting.

aiokafka's own `stop()` may wait for as long as a broker is away, and cannot be repeated once it was cut short. What it
then leaves behind (a sender that sends for ever, a heartbeat, connections) is reached here through private names, and
nowhere else; so is the one knob that it does not offer. Written for aiokafka 0.14.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

log = structlog.get_logger(__name__)

QUIET_S = 60.0
AN_HOUR_S = 3600.0


class OneLine(logging.Handler):
    """Passes on one of the library's errors a minute: it repeats them with each attempt of each of its tasks."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._last_s = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        if record.created - self._last_s >= QUIET_S:
            self._last_s = record.created
            log.warning("kafka_client_says", said=record.getMessage(), part=record.name)


def quieten() -> None:
    """Have the library's log lines pass through `OneLine`."""
    library = logging.getLogger("aiokafka")
    if not any(isinstance(handler, OneLine) for handler in library.handlers):
        library.addHandler(OneLine())
        library.propagate = False


def fetch_all_or_nothing(consumer: AIOKafkaConsumer) -> None:
    """Have a started consumer ask a server for more only when all that came from it was taken.

    Otherwise it asks after 0.1 s, without the partitions that still hold something here; when the others are empty the
    server holds that request for as long as it may, and what is new in the busy ones waits (1.8 s were measured).
    """
    consumer._fetcher._prefetch_backoff = AN_HOUR_S


async def end_producer(producer: AIOKafkaProducer, timeout_s: float) -> None:
    """Give up what it has not sent, and let go of its connections; who waits for that is not told."""
    producer._closed = True
    sender = producer._sender.sender_task
    for _ in range(2):
        # At first it waits for the answers to its requests; when it is cancelled again it does not.
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait([sender], timeout=timeout_s)
    await _within(producer.client.close(), timeout_s)


async def end_consumer(consumer: AIOKafkaConsumer, timeout_s: float) -> None:
    """Leave the group and let go of its connections; when that takes too long, let go without having left."""
    if await _within(consumer.stop(), timeout_s):
        return
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    if coordinator is not None:
        await _within(coordinator._stop_heartbeat_task(), timeout_s)
        await _within(coordinator._stop_commit_offsets_refresh_task(), timeout_s)
    if fetcher is not None:
        await _within(fetcher.close(), timeout_s)
    await _within(consumer._client.close(), timeout_s)


async def _within(work: Coroutine[Any, Any, Any], timeout_s: float) -> bool:
    """Whether `work` came to its end in time; otherwise it is cancelled. Its errors are of no interest any more."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait([task], timeout=timeout_s)
    if not done:
        task.cancel()
        await asyncio.wait([task], timeout=timeout_s)
        return False
    return task.cancelled() or task.exception() is None
