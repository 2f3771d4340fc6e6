"""The consumer: a batch from the broker, one transaction, then the acknowledgement.

    receive → decode → BEGIN; who has to wait; inbox; handlers; COMMIT → acknowledge

Invariants: nothing is acknowledged before it was committed. A batch that fails is rolled back and done again one by
one, so that one bad message never holds up its neighbours. A message that fails alone is kept, and those of its key
wait behind it (see `retries`). When the service's own database is away nothing is acknowledged and nothing is blamed on
the message.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog

from orderwright.kernel.broker import Broker, Delivery, Subscription
from orderwright.kernel.errors import BrokerUnavailable, MalformedMessage
from orderwright.kernel.handling import Handler, Handlers, traces
from orderwright.kernel.messages import Event
from orderwright.kernel.pace import Pace
from orderwright.kernel.retries import PAUSE_S, Arrival, Retries, patiently
from orderwright.kernel.retry import RETRY_MESSAGES, Backoff
from orderwright.kernel.unit import Units

log = structlog.get_logger(__name__)

MAX_BATCH = 100
PATIENT_BATCH = 300
"""The same where nobody waits at the door: who comes behind catches up in fewer transactions."""
BUSY_PER_S = 60.0
"""From so many messages a second on, waiting for company costs less than it saves; one order alone stays far below."""
LINGER_S = 0.02
OTHERS_WAIT_S = 0.06
"""While much arrives, what nobody waits for is in hand so long before it is handled without what somebody waits for."""
DEAD_IN_A_ROW = 50
"""So many dead letters one after the other mean that the fault is ours, not the messages'."""


class Consumer:
    """Hears for one service."""

    def __init__(
        self,
        service: str,
        consumes: Mapping[type[Event], Handler],
        broker: Broker,
        units: Units,
        backoff: Backoff = RETRY_MESSAGES,
        *,
        patience_s: float = 0.0,
        urgent: Collection[type[Event]] = (),
        optimistic: bool = False,
    ) -> None:
        self.stopped_because: str | None = None
        self.handled = 0
        self.handlers = Handlers(consumes)
        self.retries = Retries(service, self.handlers, units, backoff, self._count)
        self._service = service
        self._broker = broker
        self._units = units
        self._urgent = frozenset(kind.topic for kind in urgent)
        self._optimistic = optimistic
        self._dead_in_a_row = 0
        self._subscription: Subscription | None = None
        self._receiving: asyncio.Task[Sequence[Delivery]] | None = None
        self._stopping = False
        self._pace = Pace(
            units.clock,
            busy_per_s=BUSY_PER_S,
            linger_s=max(LINGER_S, patience_s),
            at_least_s=patience_s,
        )
        self._max_batch = PATIENT_BATCH if patience_s else MAX_BATCH
        self._more_waits = False

    @property
    def topics(self) -> list[str]:
        return self.handlers.topics

    async def subscribe(self) -> None:
        """Join the service's group; from now on nothing that is published passes it by. BrokerUnavailable."""
        if self._subscription is None:
            self._subscription = await self._broker.subscribe(self._service, self.topics, max_batch=self._max_batch)

    async def run_forever(self) -> None:
        """Hear until it is stopped; the batch in hand is then finished and acknowledged, and the group left."""
        try:
            while not self._stopping and self.stopped_because is None:
                deliveries = await self._next()
                if not deliveries:
                    return
                with self._pace.batch(len(deliveries)):
                    await self._handle(deliveries)
                assert self._subscription is not None
                await self._subscription.acknowledge(deliveries)
                self._more_waits = len(deliveries) >= self._max_batch or self._subscription.more_waits
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
        await self._pace.linger(full=self._more_waits)
        taken = list(await self._subscription.receive())
        if self._urgent and self._pace.busy:
            await self._take_until_urgent(self._subscription, taken)
        return taken

    async def _take_until_urgent(self, subscription: Subscription, taken: list[Delivery]) -> None:
        """Add to what was taken until somebody waits for some of it; a wait that is cancelled loses nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OTHERS_WAIT_S):
                more: Sequence[Delivery] = taken
                while more and len(taken) < self._max_batch and not any(one.topic in self._urgent for one in more):
                    more = await subscription.receive()
                    taken += more

    @staticmethod
    def _cancelled_itself() -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        readable: list[Arrival] = []
        for delivery in deliveries:
            try:
                readable.append(Arrival(delivery, self.handlers.read(delivery)))
            except MalformedMessage as error:
                await self.retries.keep(delivery, error)
        if not readable:
            return
        try:
            await self._process(readable)
        except Exception as error:
            if len(readable) == 1:
                await self._keep(readable[0], error)
                return
            log.info("batch_redone_one_by_one", service=self._service, messages=len(readable), reason=repr(error))
            for arrival in readable:
                await self._process_alone(arrival)

    async def _process_alone(self, arrival: Arrival) -> None:
        try:
            await self._process([arrival])
        except Exception as error:
            await self._keep(arrival, error)

    async def _keep(self, arrival: Arrival, error: Exception) -> None:
        await self.retries.keep(arrival.delivery, error, arrival.received)

    async def _process(self, batch: Sequence[Arrival]) -> None:
        known = traces([arrival.received for arrival in batch])
        work = partial(self.retries.handle_or_park, batch=batch)
        free = await patiently(
            self._units, self._service, lambda: self._units.run(work, traces=known, optimistic=self._optimistic)
        )
        self.handled += len(free)
        if free:
            self._count(dead=False)
        handled = {id(received) for received in free}
        # Bound once: structlog's own way from a module's logger costs more than a line that is not written.
        note = log.bind(service=self._service)
        for arrival in batch:
            message = arrival.received.message
            event = "event_handled" if id(arrival.received) in handled else "event_parked"
            note.debug(event, heard=message.name, event_id=message.id, key=message.key)

    def _count(self, dead: bool) -> None:
        self._dead_in_a_row = self._dead_in_a_row + 1 if dead else 0
        if self._dead_in_a_row >= DEAD_IN_A_ROW:
            self.stopped_because = (
                f"{self._dead_in_a_row} dead letters in a row: see `orderwright dead-letters list`, then start again"
            )
            log.critical("consumer_stopped", service=self._service, reason=self.stopped_because)


async def cancelled_quietly(task: "asyncio.Task[None]") -> None:
    """Cancel `task` and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def finished_or_cancelled(task: "asyncio.Task[None]", timeout_s: float) -> None:
    """Wait for the end of `task`, and bring it about when it takes too long."""
    await asyncio.wait([task], timeout=timeout_s)
    await cancelled_quietly(task)
