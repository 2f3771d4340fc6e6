"""The broker port: everything that a message broker must be able to do for orderwright.

The delivery contract, held by the conformance suite for every implementation:

* `publish` returns once each message is safe: it will be delivered to every subscribed group even if this process ends
  now. It raises BrokerUnavailable when that is not known; some of the batch may have been taken, so publishing again
  may deliver twice.
* A group receives every message of its topics at least once. Within a group each message goes to one subscription at a
  time. Messages with the same key arrive in the order in which they were published, unless one is delivered again.
* What was received and not acknowledged is delivered again: after the subscription closed, or its process died.
* `acknowledge` is called after the consumer's own commit, never before.
* A body is opaque bytes; the key and the headers arrive as they were sent.
* What was declared for a group is kept for it from then on, also while none of its subscriptions runs.
* An outage ends by itself: `publish`, `declare` and `ping` say BrokerUnavailable meanwhile, `receive` waits it out, and
  what could not be acknowledged comes again. Nobody has to open anything anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from orderwright.kernel.messages import Message


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between brokers, declared so that the conformance suite and the relay can ask."""

    durable: bool
    """Messages survive the broker's own end; otherwise they live in the outbox until they were acknowledged."""
    shared: bool
    """Several processes can meet at it."""
    ordered_between_consumers: bool
    """Also while a group has several subscriptions, a key's messages are handled one after the other."""
    parallel_publishes: int = 1
    """How many `publish` calls may run at once without disturbing the order per key."""


class Delivery(msgspec.Struct, frozen=True):
    """One message as the broker handed it over: raw, because reading it may fail."""

    topic: str
    key: str
    headers: Mapping[str, str]
    body: bytes
    token: Any
    """What the broker needs to acknowledge it; opaque to everybody else."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a group has still to handle."""

    count: int
    """Messages that it has not acknowledged, as far as the broker tells."""
    exact: bool = True
    """Otherwise consumers are connected, and the broker does not tell how much more they have in hand."""

    @property
    def empty(self) -> bool:
        """Whether certainly nothing is left."""
        return self.exact and not self.count


class Subscription(Protocol):
    """A group's door to its topics."""

    @property
    def more_waits(self) -> bool:
        """Whether more than it handed over last was known to wait: then nobody has to wait for company."""

    async def receive(self) -> Sequence[Delivery]:
        """Wait for at least one delivery and return what is there, up to the batch size. Empty once closed.

        May be cancelled: what it had taken comes again after `close`.
        """

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """These were handled and committed; do not deliver them again. Never fails: what is not heard comes again."""

    async def close(self) -> None:
        """Stop receiving; what was not acknowledged goes to somebody else."""


class Broker(Protocol):
    """The port itself."""

    capabilities: Capabilities

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send a batch, in order. BrokerUnavailable when it is not known to be safe."""

    async def declare(self, audience: Mapping[str, Sequence[str]]) -> None:
        """Have everything ready for these groups and the topics that each hears. BrokerUnavailable."""

    async def subscribe(self, group: str, topics: Sequence[str], *, max_batch: int = 100) -> Subscription:
        """Join `group` on `topics`, which are declared if they do not exist. BrokerUnavailable."""

    async def backlog(self, audience: Mapping[str, Sequence[str]]) -> Mapping[str, Backlog]:
        """What each of these groups has still to handle of the topics that it hears. BrokerUnavailable.

        It changes nothing and makes nothing: a group that is not there has all that it would be given if it came.
        """

    async def ping(self) -> None:
        """BrokerUnavailable when the broker does not answer."""

    async def close(self) -> None:
        """Let go of every connection."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
