"""What becomes of a message that failed: kept, tried again with backoff, then a dead letter; its followers wait.

Invariants: nothing that failed is let go before it is kept. A message of a key that is held up is parked in the
handler's own transaction, so that no replica handles it in between. When the service's own database is away nothing is
blamed on the message.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from orderwright.kernel import inbox
from orderwright.kernel.broker import Delivery
from orderwright.kernel.deadletters import kept as store
from orderwright.kernel.deadletters import lines
from orderwright.kernel.deadletters.attempts import attempt, holds_up
from orderwright.kernel.deadletters.kept import KeptMessage
from orderwright.kernel.deadletters.lines import Line
from orderwright.kernel.deadletters.states import DEAD, PARKED, RETRYING
from orderwright.kernel.errors import DatabaseUnavailable, MalformedMessage
from orderwright.kernel.handling import Handlers, described, traces
from orderwright.kernel.messages import Received
from orderwright.kernel.retry import Backoff
from orderwright.kernel.unit import UnitOfWork, Units

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_CLAIM = 100
PAUSE_S = 1.0
LEASE = timedelta(seconds=60)


class Arrival(msgspec.Struct, frozen=True):
    """A delivery that could be read."""

    delivery: Delivery
    received: Received[Any]


class Retries:
    """Keeps what failed for one service, and tries it again. `count` is told whether each failure was a last one."""

    def __init__(
        self, service: str, handlers: Handlers, units: Units, backoff: Backoff, count: Callable[[bool], None]
    ) -> None:
        self._service = service
        self._handlers = handlers
        self._units = units
        self._backoff = backoff
        self._count = count
        self._next_at: datetime | None = None
        self.kept_one: Callable[[], None] = lambda: None
        """Called when a message was kept that will be tried again."""

    async def keep(self, delivery: Delivery, error: Exception, received: Received[Any] | None = None) -> None:
        """Keep a message whose first attempt failed; `received` is None when it cannot be read."""
        delay_s = self._delay_s(1, error)
        state = DEAD if delay_s is None else RETRYING
        message = self._kept(delivery, received, state, error=described(error), holds=holds_up(error), delay_s=delay_s)
        self._count(delay_s is None)
        level = log.error if delay_s is None else log.warning
        level(
            "message_kept",
            service=self._service,
            topic=delivery.topic,
            key=delivery.key,
            state=state,
            error=message.error,
        )
        await self._write(partial(store.keep, message=message))
        if state == RETRYING:
            self.kept_one()

    def handle_or_park(self, uow: UnitOfWork, batch: Sequence[Arrival]) -> list[Received[Any]]:
        """Park what stands behind a kept message of its key, and handle the rest, which is answered."""
        # Nearly always nobody is held up, and the inbox finds that out with the same statement.
        if self._handlers.handle(uow, [arrival.received for arrival in batch], lines.ANY_HELD):
            return [arrival.received for arrival in batch]
        free = self._park_followers(uow, batch)
        self._handlers.handle(uow, free)
        return free

    def _park_followers(self, uow: UnitOfWork, batch: Sequence[Arrival]) -> list[Received[Any]]:
        held = lines.lock(uow.connection, {self._line(arrival.received) for arrival in batch})
        behind = [arrival for arrival in batch if self._line(arrival.received) in held]
        known = inbox.known(uow.connection, [arrival.received.message for arrival in behind]) if behind else set()
        parked = [
            self._kept(arrival.delivery, arrival.received, PARKED)
            for arrival in behind
            if (arrival.received.message.id, arrival.received.message.source) not in known
        ]
        store.park(uow.connection, parked)
        return [arrival.received for arrival in batch if self._line(arrival.received) not in held]

    async def run_due(self) -> bool:
        """Try kept messages again whose time has come; answers whether there may be more."""
        now = self._units.clock.now()
        self._next_at = await self._units.glance(store.next_attempt)
        if self._next_at is None or self._next_at > now:
            return False
        claim = partial(store.claim_due, now=now, limit=MAX_CLAIM, lease=LEASE)
        due = await self._units.database.write(claim)
        for kept in due:
            await self._retry(kept)
        return bool(due)

    def due_in_s(self) -> float | None:
        """In how many seconds the next attempt is due, as far as it was known at the last look."""
        return None if self._next_at is None else (self._next_at - self._units.clock.now()).total_seconds()

    async def _retry(self, kept: KeptMessage) -> None:
        try:
            trace = traces([self._handlers.read(kept)])
            work = partial(attempt, self._handlers, message_id=kept.id)
            await patiently(self._units, self._service, lambda: self._units.run(work, traces=trace))
        except Exception as error:
            delay_s = self._delay_s(kept.attempts + 1, error)
            log.warning(
                "retry_failed", service=self._service, topic=kept.topic, key=kept.key, attempts=kept.attempts + 1
            )
            self._count(delay_s is None)
            await self._write(partial(self._record_failure, message_id=kept.id, error=error, delay_s=delay_s))
        else:
            self._count(False)

    def _record_failure(
        self, connection: sa.Connection, message_id: str, error: Exception, delay_s: float | None
    ) -> None:
        now = self._units.clock.now()
        kept = store.take(connection, message_id)
        # Somebody may have settled it in the meantime.
        if kept is not None and kept.state == RETRYING:
            store.record_failure(
                connection,
                kept,
                error=described(error),
                holds=holds_up(error),
                now=now,
                state=DEAD if delay_s is None else RETRYING,
                next_attempt_at=now + timedelta(seconds=delay_s or 0),
            )

    def _delay_s(self, attempt_number: int, error: Exception) -> float | None:
        if isinstance(error, MalformedMessage):
            return None
        return self._backoff.delay_s(attempt_number, self._units.ids.jitter())

    def _line(self, received: Received[Any]) -> Line:
        return lines.line(_key(received), self._handlers.about(received.message.topic))

    def _kept(
        self,
        delivery: Delivery,
        received: Received[Any] | None,
        state: str,
        *,
        error: str = "",
        holds: bool = True,
        delay_s: float | None = None,
    ) -> KeptMessage:
        now = self._units.clock.now()
        message = None if received is None else received.message
        return KeptMessage(
            id=self._units.ids.new(),
            state=state,
            topic=delivery.topic,
            key=_key(received) if received else delivery.key,
            about=self._handlers.about(message.topic) if message else None,
            event_id=message.id if message else None,
            source=message.source if message else None,
            holds=holds,
            position=None,
            headers=delivery.headers,
            body=delivery.body,
            attempts=0 if state == PARKED else 1,
            error=error,
            next_attempt_at=now + timedelta(seconds=delay_s or 0),
            created_at=now,
            updated_at=now,
        )

    async def _write(self, work: Callable[[sa.Connection], None]) -> None:
        await patiently(self._units, self._service, lambda: self._units.database.write(work))


def _key(received: Received[Any]) -> str:
    """What a message is about. Whoever sends without keys must not put all that they say into one line."""
    return received.message.key or str(received.event.key)


async def patiently(units: Units, service: str, act: Callable[[], Awaitable[T]]) -> T:
    """Do `act` as soon as the service's own database is there."""
    while True:
        try:
            return await act()
        except DatabaseUnavailable as error:
            log.warning("consumer_waits_for_database", service=service, reason=str(error))
            await units.clock.sleep(PAUSE_S)
