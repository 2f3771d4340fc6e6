"""What staff do with kept messages: look at them, replay them, discard them.

Invariants: a replay runs the service's own handler and is told what came of it; a dry run does the same and rolls it
back. An act and its record are one transaction. Replaying twice acts once, also from two processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from orderwright.kernel import inbox, outbox
from orderwright.kernel.deadletters import audit, reading
from orderwright.kernel.deadletters import kept as store
from orderwright.kernel.deadletters.attempts import ALREADY_HANDLED, GONE, RETRY_JOB, attempt, holds_up
from orderwright.kernel.deadletters.kept import KeptMessage
from orderwright.kernel.deadletters.reading import History, Selection
from orderwright.kernel.deadletters.states import DEAD, DISCARDED, HANDLED, OPEN, PARKED, RETRYING
from orderwright.kernel.errors import Conflict, DatabaseUnavailable, NotFound
from orderwright.kernel.handling import Handlers, described, traces
from orderwright.kernel.messages import Message
from orderwright.kernel.unit import UnitOfWork, Units

FAILED = "failed"
REPLAYABLE = (RETRYING, DEAD, DISCARDED)
"""A parked message is not among them: its turn comes when what it waits for is settled."""
DETAILS = {
    ALREADY_HANDLED: "The inbox knows it: it was handled before",
    GONE: "It is not kept any more: it was handled in the meantime",
    PARKED: "It waits behind another message of its key; settle that one, and it follows by itself",
}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay, or would come of it."""

    id: str
    outcome: str
    """`handled`, `failed`, `already_handled`, `parked` or `gone`."""
    detail: str | None = None
    said: Sequence[Message] = ()


class _RolledBack(Exception):
    """Ends a dry run: carries what would have come of it out of the transaction that must not be."""

    def __init__(self, replayed: Replayed) -> None:
        super().__init__(replayed.outcome)
        self.replayed = replayed


class DeadLetterDesk:
    """Works on the kept messages of one service."""

    def __init__(self, handlers: Handlers, units: Units) -> None:
        self._handlers = handlers
        self._units = units

    async def listed(self, selection: Selection, *, before: str | None, limit: int) -> list[KeptMessage]:
        """The newest messages of a selection, older than the one with the id `before`."""
        return await self._units.read(partial(reading.listed, selection=selection, before=before, limit=limit))

    async def shown(self, message_id: str) -> History:
        """One message with its history. NotFound when there is none."""
        return await self._units.read(partial(reading.shown, message_id=message_id))

    async def select(self, topic: str | None, key: str | None, *, after: str | None, limit: int) -> list[str]:
        """Ids of dead letters, the oldest first, younger than `after`."""
        selection = Selection((DEAD,), topic, key)
        return await self._units.read(partial(reading.ids_of, selection=selection, after=after, limit=limit))

    async def replay(self, message_id: str, *, who: str, dry_run: bool = False) -> Replayed:
        """Try a message now; one that fails again stays what it was. NotFound when there is none of that id."""
        kept = (await self.shown(message_id)).kept
        try:
            trace = traces([self._handlers.read(kept)])
            return await self._units.run(partial(self._replay, kept=kept, who=who, dry_run=dry_run), traces=trace)
        except _RolledBack as would:
            return would.replayed
        except DatabaseUnavailable:
            raise
        except Exception as error:
            if not dry_run:
                await self._units.run(partial(self._note_failure, message_id=message_id, who=who, error=error))
            return Replayed(message_id, FAILED, described(error))

    async def replay_many(self, message_ids: Sequence[str], *, who: str, dry_run: bool = False) -> list[Replayed]:
        """Try messages now, one after the other, each in a transaction of its own."""
        results: list[Replayed] = []
        for message_id in message_ids:
            try:
                results.append(await self.replay(message_id, who=who, dry_run=dry_run))
            except NotFound:
                results.append(Replayed(message_id, GONE, DETAILS[GONE]))
        return results

    async def discard(self, message_id: str, *, who: str, reason: str) -> History:
        """Never handle a message; those behind it go on. Conflict when it is settled already, NotFound when unknown.

        One that was handled after all, because it came once more while it was kept, is settled as what it is.
        """

        def work(uow: UnitOfWork) -> None:
            kept = store.take(uow.connection, message_id)
            if kept is None:
                raise NotFound(f"No message {message_id} is kept here")
            if kept.state not in OPEN:
                raise Conflict(f"Message {message_id} is {kept.state}; only what is still open can be discarded")
            handled = _inbox_knows(uow, kept)
            if store.resolve(uow.connection, kept, uow.now, as_=HANDLED if handled else DISCARDED):
                uow.wake(RETRY_JOB)
            _record(uow, kept, who, audit.DISCARD, ALREADY_HANDLED if handled else DISCARDED, reason)

        await self._units.run(work)
        return await self.shown(message_id)

    def _replay(self, uow: UnitOfWork, kept: KeptMessage, who: str, dry_run: bool) -> Replayed:
        outcome = attempt(self._handlers, uow, kept.id, states=REPLAYABLE, as_=HANDLED)
        replayed = Replayed(kept.id, outcome, DETAILS.get(outcome), tuple(uow.said))
        if dry_run:
            outbox.append(uow.connection, uow.said)
            raise _RolledBack(replayed)
        _record(uow, kept, who, audit.REPLAY, outcome)
        return replayed

    def _note_failure(self, uow: UnitOfWork, message_id: str, who: str, error: Exception) -> None:
        kept = store.take(uow.connection, message_id)
        if kept is None:
            return
        if kept.state in REPLAYABLE:
            holds = holds_up(error)
            store.record_failure(uow.connection, kept, error=described(error), holds=holds, now=uow.now)
        _record(uow, kept, who, audit.REPLAY, f"{FAILED}: {described(error)}")


def _inbox_knows(uow: UnitOfWork, kept: KeptMessage) -> bool:
    """Whether a message was handled before; if not, the inbox takes it for handled from now on."""
    if kept.event_id is None or kept.source is None:
        return False
    return not inbox.note(uow.connection, kept.event_id, kept.source, uow.now)


def _record(uow: UnitOfWork, kept: KeptMessage, who: str, action: str, outcome: str, reason: str | None = None) -> None:
    audit.record(
        uow.connection,
        kept,
        act_id=uow.ids.new(),
        at=uow.now,
        who=who,
        action=action,
        outcome=outcome,
        reason=reason,
    )
