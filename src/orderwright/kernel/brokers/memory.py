"""The in-process broker: the port's delivery contract inside one process, with nothing to install.

Invariant: it holds nothing that is not also in an outbox. `publish` returns only when every subscribed group has
acknowledged the messages, so the outbox rows outlive a crash until their consumers have committed; after a restart the
relay sends them again and the inboxes drop what was already handled.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from orderwright.kernel.broker import Backlog, Capabilities, Delivery
from orderwright.kernel.errors import BrokerUnavailable
from orderwright.kernel.messages import Message


class _Receipt:
    """Counts down the acknowledgements that one `publish` waits for."""

    __slots__ = ("_done", "_open")

    def __init__(self) -> None:
        self._open = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def expect(self) -> None:
        self._open += 1

    def settle(self) -> None:
        self._open -= 1
        if not self._open and not self._done.done():
            self._done.set_result(None)

    def fail(self) -> None:
        if not self._done.done():
            self._done.set_exception(BrokerUnavailable("The in-process broker was closed before all was acknowledged"))

    async def wait(self) -> None:
        if self._open:
            await self._done


class _Group:
    """A group's queue; its subscriptions take from it in turn."""

    def __init__(self) -> None:
        self.queue: deque[Delivery] = deque()
        self.in_hand = 0
        """Deliveries that were received and not acknowledged."""
        self.filled = asyncio.Event()

    def put(self, delivery: Delivery) -> None:
        self.queue.append(delivery)
        self.filled.set()

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        self.in_hand -= len(deliveries)
        self.queue.extendleft(reversed(deliveries))
        if deliveries:
            self.filled.set()


class MemorySubscription:
    """One consumer of a group."""

    def __init__(self, group: _Group, max_batch: int) -> None:
        self._group = group
        self._max_batch = max_batch
        self._unacknowledged: dict[int, Delivery] = {}
        self._closed = False

    @property
    def more_waits(self) -> bool:
        return bool(self._group.queue)

    async def receive(self) -> Sequence[Delivery]:
        while not self._closed and not self._group.queue:
            self._group.filled.clear()
            await self._group.filled.wait()
        if self._closed:
            return []
        queue = self._group.queue
        batch = [queue.popleft() for _ in range(min(self._max_batch, len(queue)))]
        self._unacknowledged.update((id(delivery), delivery) for delivery in batch)
        self._group.in_hand += len(batch)
        return batch

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if self._unacknowledged.pop(id(delivery), None) is not None:
                self._group.in_hand -= 1
                delivery.token.settle()

    async def close(self) -> None:
        self._closed = True
        self._group.put_back(list(self._unacknowledged.values()))
        self._unacknowledged.clear()
        self._group.filled.set()


class MemoryBroker:
    """All groups of one process. Order per key within a group holds because a group has one queue."""

    capabilities = Capabilities(durable=False, shared=False, ordered_between_consumers=False, parallel_publishes=256)

    def __init__(self, url: str = "memory://") -> None:
        self.url = url
        self._groups: dict[str, _Group] = {}
        self._listeners: defaultdict[str, list[_Group]] = defaultdict(list)
        self._receipts: set[_Receipt] = set()
        self._closed = False

    async def publish(self, messages: Sequence[Message]) -> None:
        if self._closed:
            raise BrokerUnavailable("The in-process broker is closed")
        receipt = _Receipt()
        for message in messages:
            for group in self._listeners.get(message.topic, ()):
                receipt.expect()
                group.put(Delivery(message.topic, message.key, message.headers(), message.body, receipt))
        self._receipts.add(receipt)
        try:
            await receipt.wait()
        finally:
            self._receipts.discard(receipt)

    async def declare(self, audience: Mapping[str, Sequence[str]]) -> None:
        """Nothing to do: all groups are in this process, and join before anything is sent."""

    async def subscribe(self, group: str, topics: Sequence[str], *, max_batch: int = 100) -> MemorySubscription:
        members = self._groups.setdefault(group, _Group())
        for topic in topics:
            if members not in self._listeners[topic]:
                self._listeners[topic].append(members)
        return MemorySubscription(members, max_batch)

    async def backlog(self, audience: Mapping[str, Sequence[str]]) -> Mapping[str, Backlog]:
        await self.ping()
        groups = {name: self._groups.get(name, _Group()) for name in audience}
        return {name: Backlog(len(group.queue) + group.in_hand) for name, group in groups.items()}

    async def ping(self) -> None:
        if self._closed:
            raise BrokerUnavailable("The in-process broker is closed")

    async def close(self) -> None:
        self._closed = True
        for receipt in self._receipts:
            receipt.fail()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
