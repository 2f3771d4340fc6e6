"""One attempt to handle a kept message, in the transaction that also takes it off the list.

Invariant: whoever makes the attempt (a retry or a person, in whichever process) has locked the message, looks at what
it is now, and the inbox is asked as for any other; so it acts once, however many try at the same time.
"""

from collections.abc import Collection

from orderwright.kernel import inbox
from orderwright.kernel.deadletters import kept as store
from orderwright.kernel.deadletters.states import DISCARDED, HANDLED, RETRYING
from orderwright.kernel.errors import MalformedMessage, TryLater
from orderwright.kernel.handling import Handlers
from orderwright.kernel.unit import UnitOfWork

GONE = "gone"
ALREADY_HANDLED = "already_handled"
RETRY_JOB = "retry-messages"
"""The job that tries what is due; it is woken when a message was let go."""


def attempt(
    handlers: Handlers,
    uow: UnitOfWork,
    message_id: str,
    *,
    states: Collection[str] = (RETRYING,),
    as_: str | None = None,
) -> str:
    """Handle a kept message that is in one of `states`; answers `handled`, `already_handled`, or what it is instead.

    Raises what the handler raises, and MalformedMessage; then the transaction must be rolled back.
    """
    kept = store.take(uow.connection, message_id)
    if kept is None:
        return GONE
    if kept.state not in states:
        return ALREADY_HANDLED if kept.state == HANDLED else kept.state
    received = handlers.read(kept)
    if kept.state == DISCARDED:
        inbox.withdraw(uow.connection, received.message.id, received.message.source)
    handled = handlers.handle(uow, [received])
    if store.resolve(uow.connection, kept, uow.now, as_=as_):
        uow.wake(RETRY_JOB)
    return HANDLED if handled else ALREADY_HANDLED


def holds_up(error: Exception) -> bool:
    """Whether messages behind one that failed like this have to wait for it."""
    return not isinstance(error, MalformedMessage | TryLater)
