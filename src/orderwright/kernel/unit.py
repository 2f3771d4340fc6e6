"""The unit of work: one transaction, what is said in it, and what must happen when it has committed.

Invariant: state, inbox rows and outbox rows are written together or not at all. Nothing outside this file and the
database adapters commits; nothing is handed to the broker, to the feed or to a job before the COMMIT.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

import sqlalchemy as sa

from orderwright.kernel import outbox
from orderwright.kernel.clock import Clock
from orderwright.kernel.database import Database
from orderwright.kernel.databases.optimistic import OptimisticConnection
from orderwright.kernel.feed import Feed
from orderwright.kernel.ids import Ids
from orderwright.kernel.messages import Event, Message, encode

T = TypeVar("T")


class UnitOfWork:
    """What an action works with; passed explicitly, alive for one transaction."""

    def __init__(
        self,
        connection: sa.Connection,
        *,
        now: datetime,
        ids: Ids,
        source: str,
        traces: Mapping[str, str] | None = None,
    ) -> None:
        self.connection = connection
        self.now = now
        self.ids = ids
        self.traces = dict(traces or {})
        """The W3C trace context that belongs to each key; an event continues the trace of its key."""
        self.said: list[Message] = []
        self.told: dict[str, object] = {}
        self.jobs_woken: set[str] = set()
        self.once_committed: list[Callable[[], None]] = []
        """Done in the event loop when this has committed, and never otherwise; holds nothing that holds this."""
        self._source = source

    @property
    def optimistic(self) -> OptimisticConnection | None:
        """The connection, where nothing is locked: what is done here reads first, and then writes what still holds."""
        return self.connection if isinstance(self.connection, OptimisticConnection) else None

    def emit(self, *events: Event) -> None:
        """Say `events`; they are kept in the outbox with this transaction and sent when it has committed."""
        for event in events:
            message = encode(
                event, id=self.ids.new(), source=self._source, time=self.now, traceparent=self.traces.get(event.key)
            )
            self.said.append(message)

    def tell(self, key: str, news: object = None) -> None:
        """Wake whoever waits for `key` once this has committed, and let them know `news` of it."""
        self.told[key] = self.told.get(key) if news is None else news

    def wake(self, job_name: str) -> None:
        """Run that job once this has committed, instead of at its next turn."""
        self.jobs_woken.add(job_name)


class AfterCommit(Protocol):
    """What the running service does with a unit of work that has committed."""

    def __call__(self, uow: UnitOfWork) -> None: ...


class Units:
    """Opens units of work on one service's database; the edge that commits."""

    def __init__(self, service: str, database: Database, clock: Clock, ids: Ids, feed: Feed) -> None:
        self.database = database
        self.clock = clock
        self.ids = ids
        self.feed = feed
        self.sends_at_once: Callable[[], bool] = lambda: True
        """Whether what is said now will be handed to the broker by this process."""
        self.after_commit: list[AfterCommit] = [lambda uow: feed.tell(uow.told)]
        self._source = f"/orderwright/{service}"
        self._running: set[asyncio.Task[None]] = set()

    async def run(
        self,
        work: Callable[[UnitOfWork], T],
        *,
        traces: Mapping[str, str] | None = None,
        optimistic: bool = False,
    ) -> T:
        """Run `work` in a transaction, commit, then hand over what was said.

        If it is `optimistic`, the first attempt locks nothing where that is quicker; the next one does.
        A caller that goes away while this runs changes nothing: the work is committed and handed over, or rolled back.
        """
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._carry_out(work, traces, outcome, optimistic=optimistic))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await outcome

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query` on a snapshot."""
        return await self.database.read(query)

    async def glance(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query`, which is one statement."""
        return await self.database.glance(query)

    async def drain(self) -> None:
        """Wait until nothing is running."""
        while self._running:
            await asyncio.wait(list(self._running))

    async def _carry_out(
        self,
        work: Callable[[UnitOfWork], T],
        traces: Mapping[str, str] | None,
        outcome: "asyncio.Future[T]",
        *,
        optimistic: bool,
    ) -> None:
        def transact(connection: sa.Connection) -> tuple[T, UnitOfWork]:
            uow = UnitOfWork(connection, now=self.clock.now(), ids=self.ids, source=self._source, traces=traces)
            result = work(uow)
            outbox.append(connection, uow.said, leased=self.sends_at_once())
            return result, uow

        try:
            result, uow = await self.database.write(transact, optimistic=optimistic)
        except Exception as error:
            if not outcome.done():
                outcome.set_exception(error)
            return
        for act in uow.once_committed:
            act()
        for hook in self.after_commit:
            hook(uow)
        if not outcome.done():
            outcome.set_result(result)
