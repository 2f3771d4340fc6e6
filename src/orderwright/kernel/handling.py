"""What a service does with messages: reads them and calls its handlers, inside somebody else's transaction.

Invariant: whoever handles a message (the consumer, a retry, an operator's replay) does it through here, so the inbox is
always asked first and the order of every key's messages is kept.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from orderwright.kernel import inbox
from orderwright.kernel.errors import MalformedMessage, TryLater
from orderwright.kernel.messages import Decoders, Event, Message, Received
from orderwright.kernel.unit import UnitOfWork

G = TypeVar("G")

Handler = Callable[[Sequence[Received[Any]], UnitOfWork], None]
"""Handles events, in the transaction of `uow`; raises to have them tried again."""


class Raw(Protocol):
    """A message as it came, before anybody has read it."""

    @property
    def topic(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...


class Handlers:
    """Everything that one service hears, by topic."""

    def __init__(self, consumes: Mapping[type[Event], Handler]) -> None:
        self._handlers = {kind.topic: handler for kind, handler in consumes.items()}
        self._about = {kind.topic: kind.key_field for kind in consumes}
        self._decoders = Decoders({kind.topic: kind for kind in consumes})

    @property
    def topics(self) -> list[str]:
        return sorted(self._handlers)

    def read(self, raw: Raw) -> Received[Any]:
        """The event in a message. MalformedMessage when nobody can ever read it."""
        message = Message.from_headers(raw.topic, raw.key, raw.headers, raw.body)
        return Received(self._decoders.decode(message), message)

    def about(self, topic: str) -> str:
        """What the keys of a topic are the ids of; topics that share it speak about the same things."""
        return self._about[topic]

    def handle(self, uow: UnitOfWork, batch: Sequence[Received[Any]], unless: str = "") -> int:
        """Handle those of `batch` that were not handled before; answers how many.

        None while the query `unless` finds anything.
        """
        if not batch:
            return 0
        messages = [received.message for received in batch]
        if uow.optimistic:
            accepted = inbox.each_once(messages)
        else:
            accepted = inbox.accept(uow.connection, messages, uow.now, unless)
        fresh = {id(message) for message in accepted}
        to_do = [received for received in batch if id(received.message) in fresh]
        # Topics that share a handler are handed to it together: what it loads and writes, it then does once.
        for handler, run in in_runs(to_do, self._handlers.__getitem__):
            handler(run, uow)
            for received in run:
                uow.tell(received.message.key)
        if uow.optimistic:
            inbox.keep(uow.optimistic, accepted, uow.now, unless)
        return len(fresh)


def in_runs(batch: Sequence[Received[Any]], group_of: Callable[[str], G]) -> list[tuple[G, list[Received[Any]]]]:
    """Group a batch by what its topics belong to, into as few runs as keep the order of every key's messages."""
    runs: list[tuple[G, list[Received[Any]]]] = []
    last_run_of_key: dict[str, int] = {}
    for received in batch:
        message = received.message
        start, group = last_run_of_key.get(message.key, 0), group_of(message.topic)
        for index in range(start, len(runs)):
            if runs[index][0] == group:
                break
        else:
            index = len(runs)
            runs.append((group, []))
        runs[index][1].append(received)
        last_run_of_key[message.key] = index
    return runs


def traces(batch: Sequence[Received[Any]]) -> dict[str, str]:
    """The trace of each key in `batch`, to be continued by what is said about it."""
    return {r.message.key: r.message.traceparent for r in batch if r.message.traceparent}


def described(error: Exception) -> str:
    """One line on an error, for operators. Values of statements are left out: they may be a customer's."""
    if isinstance(error, MalformedMessage | TryLater):
        return str(error)
    original = getattr(error, "orig", None) or error
    return f"{type(error).__name__}: {original}"
