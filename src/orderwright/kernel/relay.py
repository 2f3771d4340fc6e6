"""The relay: brings what was committed to the outbox to the broker.

What this process has just committed is handed over in memory and sent at once. What a crash or a broker's absence left
behind is claimed from the table. Invariant: a row is deleted only after the broker has its message; so everything that
was said is sent at least once, and a duplicate is dropped by the inbox. While the broker is away nothing is held in
memory: rows wait in the table, free for whoever reaches the broker first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from orderwright.kernel import outbox
from orderwright.kernel.broker import Broker
from orderwright.kernel.clock import Clock
from orderwright.kernel.database import Database
from orderwright.kernel.errors import BrokerUnavailable, DatabaseUnavailable
from orderwright.kernel.messages import Message

log = structlog.get_logger(__name__)

MAX_BATCH = 200
MAX_HANDED_OVER = 20_000
"""Beyond this the memory is let go and the rows are read from the table again."""
SWEEP_EVERY_S = 5.0
FORGET_AFTER_S = 1.0
"""Rows that were sent are deleted this much later, many in one transaction."""
PAUSE_AFTER_FAILURE_S = 1.0


class Relay:
    """Sends one service's outbox. Several may run on one database: leases keep them apart."""

    def __init__(
        self,
        service: str,
        database: Database,
        broker: Broker,
        clock: Clock,
        *,
        declare: Callable[[], Awaitable[None]] | None = None,
        sweeps: bool = True,
    ) -> None:
        self.problem: str | None = None
        """Why nothing is being sent at the moment; readiness shows it."""
        self._service = service
        self._database = database
        self._broker = broker
        self._clock = clock
        self._declare = declare
        self._sweeps = sweeps
        self._handed_over: asyncio.Queue[Message] = asyncio.Queue(MAX_HANDED_OVER)
        self._in_flight: set[str] = set()
        self._sent: list[str] = []
        self._sent_some = asyncio.Event()
        self._free = asyncio.Semaphore(broker.capabilities.parallel_publishes)

    def takes(self) -> bool:
        """Whether what is committed now should be leased to this process, because it will be sent at once."""
        return self.problem is None

    def hand_over(self, messages: Sequence[Message]) -> None:
        """These were just committed: send them without reading them back."""
        if self.problem:
            return
        for message in messages:
            try:
                self._handed_over.put_nowait(message)
            except asyncio.QueueFull:
                return

    async def run_forever(self) -> None:
        await self._declare_first()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_what_is_handed_over(tasks))
            tasks.create_task(self._forget_what_was_sent())
            tasks.create_task(self._look_now_and_then())

    async def sweep(self) -> None:
        """Claim what nobody is sending and send it, until nothing is left. BrokerUnavailable, DatabaseUnavailable."""
        if self.problem:
            await self._broker.ping()
        while await self._database.glance(partial(outbox.any_free, now=self._clock.now())):
            claimed = await self._database.write(partial(outbox.claim, now=self._clock.now(), limit=MAX_BATCH))
            messages = [message for message in claimed if message.id not in self._in_flight]
            if messages:
                try:
                    await self._send(messages)
                except BrokerUnavailable:
                    await self._let_go(messages)
                    raise
            if len(claimed) < MAX_BATCH:
                break
        self.problem = None

    async def drain(self) -> None:
        """Wait until everything that was handed over has been sent, or left for another process to send."""
        await self._handed_over.join()

    async def flush(self) -> None:
        """Delete the rows that were sent; called once more when the service stops."""
        while self._sent:
            ids = self._sent[:1000]
            await self._database.write(partial(outbox.delete, ids=ids))
            del self._sent[: len(ids)]

    async def _declare_first(self) -> None:
        # What is sent before its hearers were declared may be lost to them.
        while self._declare is not None:
            try:
                await self._declare()
            except BrokerUnavailable as error:
                self._noticed(error)
                await self._clock.sleep(PAUSE_AFTER_FAILURE_S)
            else:
                return

    async def _send_what_is_handed_over(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            messages = [await self._handed_over.get()]
            while len(messages) < MAX_BATCH and not self._handed_over.empty():
                messages.append(self._handed_over.get_nowait())
            await self._free.acquire()
            tasks.create_task(self._send_and_release(messages))

    async def _send_and_release(self, messages: Sequence[Message]) -> None:
        try:
            if self.problem:
                await self._let_go(messages)
            else:
                await self._send(messages)
        except BrokerUnavailable as error:
            self._noticed(error)
            await self._let_go(messages)
        finally:
            for _ in messages:
                self._handed_over.task_done()
            self._free.release()

    async def _send(self, messages: Sequence[Message]) -> None:
        ids = {message.id for message in messages}
        self._in_flight |= ids
        try:
            await self._broker.publish(messages)
        finally:
            self._in_flight -= ids
        self._sent.extend(message.id for message in messages)
        self._sent_some.set()

    async def _let_go(self, messages: Sequence[Message]) -> None:
        """Free these rows; when the database is away too, their leases end by themselves."""
        free = partial(outbox.release, now=self._clock.now(), ids=[message.id for message in messages])
        try:
            await self._database.write(free)
        except DatabaseUnavailable as error:
            log.warning("leases_kept", service=self._service, messages=len(messages), reason=str(error))

    async def _forget_what_was_sent(self) -> None:
        while True:
            await self._sent_some.wait()
            self._sent_some.clear()
            await self._clock.sleep(FORGET_AFTER_S)
            try:
                await self.flush()
            except DatabaseUnavailable as error:
                log.warning("outbox_not_trimmed", service=self._service, reason=str(error))
                await self._clock.sleep(PAUSE_AFTER_FAILURE_S)
                self._sent_some.set()

    async def _look_now_and_then(self) -> None:
        while True:
            try:
                await (self.sweep() if self._sweeps else self._look_for_broker())
            except (BrokerUnavailable, DatabaseUnavailable) as error:
                self._noticed(error)
            await self._clock.sleep(PAUSE_AFTER_FAILURE_S if self.problem else SWEEP_EVERY_S)

    async def _look_for_broker(self) -> None:
        if self.problem:
            await self._broker.ping()
            self.problem = None

    def _noticed(self, error: Exception) -> None:
        if self.problem is None:
            log.warning("nothing_is_sent", service=self._service, reason=str(error))
        self.problem = str(error)
