"""The consumer: a batch from the broker, one transaction, then the acknowledgement.

    receive → decode → BEGIN; inbox; handlers; COMMIT → acknowledge

Invariants: nothing is acknowledged before it was committed. A batch that fails is rolled back and done again one by
one, so that one bad message never holds up its neighbours. A message that fails alone is kept (see `deadletters`).
When the service's own database is away nothing is acknowledged and nothing is blamed on the message.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from orderwright.kernel import deadletters, inbox
from orderwright.kernel.broker import Broker, Delivery, Subscription
from orderwright.kernel.deadletters import DEAD, RETRYING, KeptMessage
from orderwright.kernel.errors import BrokerUnavailable, DatabaseUnavailable, MalformedMessage, TryLater
from orderwright.kernel.messages import Decoders, Event, Message, Received
from orderwright.kernel.retry import RETRY_MESSAGES, Backoff
from orderwright.kernel.unit import UnitOfWork, Units

log = structlog.get_logger(__name__)

Handler = Callable[[Sequence[Received[Any]], UnitOfWork], None]
"""Handles events of one type, in the transaction of `uow`; raises to have them tried again."""

MAX_BATCH = 100
DEAD_IN_A_ROW = 50
"""So many dead letters one after the other mean that the fault is ours, not the messages'."""
IDLE_LOOKS_SKIPPED = 5
PAUSE_S = 1.0
LEASE = timedelta(seconds=60)


class Consumer:
    """Hears for one service."""

    def __init__(
        self,
        service: str,
        consumes: Mapping[type[Event], Handler],
        broker: Broker,
        units: Units,
        backoff: Backoff = RETRY_MESSAGES,
    ) -> None:
        self.stopped_because: str | None = None
        self.handled = 0
        self._service = service
        self._handlers = {kind.topic: handler for kind, handler in consumes.items()}
        self._decoders = Decoders({kind.topic: kind for kind in consumes})
        self._broker = broker
        self._units = units
        self._backoff = backoff
        self._dead_in_a_row = 0
        self._idle_looks = 0
        self._subscription: Subscription | None = None
        self._receiving: asyncio.Task[Sequence[Delivery]] | None = None
        self._stopping = False

    @property
    def topics(self) -> list[str]:
        return sorted(self._handlers)

    async def subscribe(self) -> None:
        """Join the service's group; from now on nothing that is published passes it by. BrokerUnavailable."""
        if self._subscription is None:
            self._subscription = await self._broker.subscribe(self._service, self.topics, max_batch=MAX_BATCH)

    async def run_forever(self) -> None:
        """Hear until it is stopped; the batch in hand is then finished and acknowledged, and the group left."""
        try:
            while not self._stopping and self.stopped_because is None:
                deliveries = await self._next()
                if not deliveries:
                    return
                await self._handle(deliveries)
                assert self._subscription is not None
                await self._subscription.acknowledge(deliveries)
        finally:
            await self._leave()

    async def hear(self, deliveries: Sequence[Delivery]) -> None:
        """Handle deliveries as if the broker had just handed them over; returns when they are committed or kept."""
        await self._handle(deliveries)

    def stop(self) -> None:
        """Take no more; `run_forever` ends when what is being handled is done."""
        self._stopping = True
        if self._receiving is not None:
            self._receiving.cancel()

    async def retry_due(self) -> bool:
        """Try kept messages again whose time has come; answers whether there may be more.

        While nothing is kept it looks only now and then, for what an operator's replay in another process made due.
        """
        if self._idle_looks % IDLE_LOOKS_SKIPPED:
            self._idle_looks += 1
            return False
        claim = partial(deadletters.claim_due, now=self._units.clock.now(), limit=MAX_BATCH, lease=LEASE)
        due = await self._units.database.write(claim)
        for kept in due:
            await self._retry(kept)
        retrying = (await self._units.database.read(deadletters.counts)).get(RETRYING, 0)
        self._idle_looks = 0 if retrying else self._idle_looks + 1
        return len(due) == MAX_BATCH

    async def _next(self) -> Sequence[Delivery]:
        """What the broker hands over next; nothing when this stops. A broker that is away is waited for."""
        self._receiving = asyncio.create_task(self._receive())
        try:
            return await self._receiving
        except asyncio.CancelledError:
            if self._stopping and not self._cancelled_itself():
                return []
            self._receiving.cancel()
            raise
        finally:
            self._receiving = None

    async def _receive(self) -> Sequence[Delivery]:
        while self._subscription is None:
            try:
                await self.subscribe()
            except BrokerUnavailable as error:
                log.warning("consumer_waits_for_broker", service=self._service, reason=str(error))
                await self._units.clock.sleep(PAUSE_S)
        return await self._subscription.receive()

    @staticmethod
    def _cancelled_itself() -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        readable: list[tuple[Delivery, Received[Any]]] = []
        for delivery in deliveries:
            try:
                readable.append((delivery, self._read(delivery.topic, delivery.key, delivery.headers, delivery.body)))
            except MalformedMessage as error:
                await self._keep(delivery, error)
        if not readable:
            return
        try:
            await self._process([received for _, received in readable])
        except Exception as error:
            if len(readable) == 1:
                await self._keep(readable[0][0], error)
                return
            log.info("batch_redone_one_by_one", service=self._service, messages=len(readable), reason=repr(error))
            for pair in readable:
                await self._process_alone(*pair)

    async def _process_alone(self, delivery: Delivery, received: Received[Any]) -> None:
        try:
            await self._process([received])
        except Exception as error:
            await self._keep(delivery, error)

    async def _process(self, batch: Sequence[Received[Any]], also: Callable[[UnitOfWork], None] | None = None) -> None:
        traces = {r.message.key: r.message.traceparent for r in batch if r.message.traceparent}

        def work(uow: UnitOfWork) -> None:
            fresh = {id(m) for m in inbox.accept(uow.connection, [r.message for r in batch], uow.now)}
            for topic, run in in_runs([r for r in batch if id(r.message) in fresh]):
                self._handlers[topic](run, uow)
                for received in run:
                    uow.tell(received.message.key)
            if also is not None:
                also(uow)

        while True:
            try:
                await self._units.run(work, traces=traces)
            except DatabaseUnavailable as error:
                log.warning("consumer_waits_for_database", service=self._service, reason=str(error))
                await self._units.clock.sleep(PAUSE_S)
                continue
            self.handled += len(batch)
            for received in batch:
                message = received.message
                log.debug(
                    "event_handled", service=self._service, heard=message.name, event_id=message.id, key=message.key
                )
            return

    def _read(self, topic: str, key: str, headers: Mapping[str, str], body: bytes) -> Received[Any]:
        message = Message.from_headers(topic, key, headers, body)
        return Received(self._decoders.decode(message), message)

    async def _keep(self, delivery: Delivery, error: Exception) -> None:
        self._idle_looks = 0
        malformed = isinstance(error, MalformedMessage)
        delay_s = None if malformed else self._backoff.delay_s(1, self._units.ids.jitter())
        now = self._units.clock.now()
        kept = KeptMessage(
            id=self._units.ids.new(),
            state=DEAD if delay_s is None else RETRYING,
            topic=delivery.topic,
            key=delivery.key,
            headers=delivery.headers,
            body=delivery.body,
            attempts=1,
            error=described(error),
            next_attempt_at=now + timedelta(seconds=delay_s or 0),
            created_at=now,
            updated_at=now,
        )
        self._count(dead=delay_s is None)
        level = log.error if delay_s is None else log.warning
        level(
            "message_kept",
            service=self._service,
            topic=delivery.topic,
            key=delivery.key,
            state=kept.state,
            error=kept.error,
        )
        await self._write_surely(partial(deadletters.keep, message=kept))

    async def _retry(self, kept: KeptMessage) -> None:
        try:
            received = self._read(kept.topic, kept.key, kept.headers, kept.body)
            await self._process([received], also=lambda uow: deadletters.remove(uow.connection, kept.id))
        except Exception as error:
            delay_s = self._backoff.delay_s(kept.attempts + 1, self._units.ids.jitter())
            if isinstance(error, MalformedMessage):
                delay_s = None
            log.warning(
                "retry_failed", service=self._service, topic=kept.topic, key=kept.key, attempts=kept.attempts + 1
            )
            self._count(dead=delay_s is None)
            record = partial(
                deadletters.record_failure,
                message_id=kept.id,
                error=described(error),
                now=self._units.clock.now(),
                delay_s=delay_s,
            )
            await self._write_surely(record)
        else:
            self._dead_in_a_row = 0

    async def _write_surely(self, work: Callable[[Any], None]) -> None:
        while True:
            try:
                await self._units.database.write(work)
            except DatabaseUnavailable:
                await self._units.clock.sleep(PAUSE_S)
            else:
                return

    def _count(self, *, dead: bool) -> None:
        self._dead_in_a_row = self._dead_in_a_row + 1 if dead else 0
        if self._dead_in_a_row >= DEAD_IN_A_ROW:
            self.stopped_because = (
                f"{self._dead_in_a_row} dead letters in a row: see `orderwright dead-letters list`, then start again"
            )
            log.critical("consumer_stopped", service=self._service, reason=self.stopped_because)


def in_runs(batch: Sequence[Received[Any]]) -> list[tuple[str, list[Received[Any]]]]:
    """Group a batch by topic into as few runs as possible without changing the order of any key's messages."""
    runs: list[tuple[str, list[Received[Any]]]] = []
    last_run_of_key: dict[str, int] = {}
    for received in batch:
        message = received.message
        start = last_run_of_key.get(message.key, 0)
        for index in range(start, len(runs)):
            if runs[index][0] == message.topic:
                break
        else:
            index = len(runs)
            runs.append((message.topic, []))
        runs[index][1].append(received)
        last_run_of_key[message.key] = index
    return runs


def described(error: Exception) -> str:
    """One line on an error, for operators. Values of statements are left out: they may be a customer's."""
    if isinstance(error, MalformedMessage | TryLater):
        return str(error)
    original = getattr(error, "orig", None) or error
    return f"{type(error).__name__}: {original}"


async def cancelled_quietly(task: "asyncio.Task[None]") -> None:
    """Cancel `task` and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def finished_or_cancelled(task: "asyncio.Task[None]", timeout_s: float) -> None:
    """Wait for the end of `task`, and bring it about when it takes too long."""
    await asyncio.wait([task], timeout=timeout_s)
    await cancelled_quietly(task)
