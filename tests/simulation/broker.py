"""A broker that keeps its contract and no more: messages come twice, late, out of order and again, publishing fails
though it was done, acknowledgements get lost.

Invariant, as of the port: what `publish` returned for is delivered to every group until the group has acknowledged it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from orderwright.kernel.broker import Backlog, Capabilities, Delivery
from orderwright.kernel.errors import BrokerUnavailable
from orderwright.kernel.messages import Message
from tests.simulation.faults import Faults
from tests.simulation.hosts import Process
from tests.simulation.loop import SimLoop
from tests.simulation.trace import Trace

MOST_AT_ONCE = 100
ON_THE_WAY_S = (0.0, 0.0, 0.002, 0.02)
"""How long a message may take when nothing is wrong: less than a request, or more."""


@dataclass(slots=True, eq=False)
class Letter:
    """One delivery that a group has to get."""

    number: int
    at_s: float
    delivery: Delivery


class Receipt:
    """What a publisher waits for at a broker that forgets: that every group has acknowledged."""

    def __init__(self) -> None:
        self.open = 0
        self.settled = asyncio.Event()

    def settle(self) -> None:
        self.open -= 1
        if self.open <= 0:
            self.settled.set()


class Group:
    """What one service has to get."""

    def __init__(self) -> None:
        self.waiting: list[Letter] = []
        self.filled = asyncio.Event()
        self.latest_s = 0.0
        """When the last letter that came in its turn arrives: later ones do not overtake it by being quick."""

    def put(self, letter: Letter) -> None:
        self.waiting.append(letter)
        self.filled.set()


class SimBroker:
    """The broker itself: it outlives every process."""

    def __init__(self, loop: SimLoop, faults: Faults, trace: Trace, audience: Mapping[str, Sequence[str]]) -> None:
        self.loop = loop
        self.faults = faults
        self.trace = trace
        self.down_until_s = 0.0
        self.in_hand = 0
        """Deliveries that were received and not acknowledged yet."""
        self.groups = {name: Group() for name in audience}
        self.capabilities = Capabilities(
            durable=faults.plan.durable,
            shared=True,
            ordered_between_consumers=False,
            parallel_publishes=1 if faults.plan.durable else 256,
        )
        self._listeners: dict[str, list[Group]] = {}
        for name, topics in audience.items():
            for topic in topics:
                self._listeners.setdefault(topic, []).append(self.groups[name])
        self._numbers = 0

    @property
    def empty(self) -> bool:
        """Whether nobody has to get anything, or is handling it."""
        return not self.in_hand and not any(group.waiting for group in self.groups.values())

    @property
    def down(self) -> bool:
        """Whether it answers nobody at the moment."""
        return self.loop.time() < self.down_until_s

    def forget(self) -> None:
        """It was in memory, and the memory is gone."""
        for group in self.groups.values():
            group.waiting.clear()

    def take(self, message: Message) -> Receipt:
        """Keep a message for every group that hears it."""
        receipt = Receipt()
        for group in self._listeners.get(message.topic, ()):
            receipt.open += 1
            headers = message.headers()
            way_s = self.faults.dice("way").choice(ON_THE_WAY_S)
            group.latest_s = max(group.latest_s, self.loop.time() + way_s)
            first = Delivery(message.topic, message.key, headers, message.body, receipt)
            group.put(self.letter(first, at_s=group.latest_s))
            if self.faults.strikes("message twice"):
                self.trace.reach("fault: message twice")
                group.put(self.letter(Delivery(message.topic, message.key, headers, message.body, None)))
        return receipt

    def letter(self, delivery: Delivery, *, at_s: float = 0.0) -> Letter:
        """A delivery that arrives now or at `at_s`, perhaps much later."""
        late_s = 0.0
        if self.faults.strikes("message late"):
            late_s = self.faults.dice("message late").expovariate(0.2)
            self.trace.reach("fault: message late")
        self._numbers += 1
        return Letter(self._numbers, max(self.loop.time(), at_s) + late_s, delivery)


class SimSubscription:
    """One consumer of a group."""

    def __init__(self, broker: SimBroker, group: Group, process: Process, max_batch: int) -> None:
        self._broker = broker
        self._group = group
        self._process = process
        self._max_batch = max_batch
        self._closed = False
        self._open: dict[int, Letter] = {}
        process.at_death.append(self._give_back)

    @property
    def more_waits(self) -> bool:
        return bool(self._group.waiting)

    async def receive(self) -> Sequence[Delivery]:
        while True:
            self._process.must_live()
            if self._closed:
                return []
            if letters := self._ready_letters():
                break
            await self._wait()
        for letter in letters:
            self._group.waiting.remove(letter)
            self._open[id(letter.delivery)] = letter
            self._broker.in_hand += 1
        self._say("receives", letters)
        if self._broker.faults.strikes("crash after receive"):
            self._process.die("after receive")
        for letter in letters:
            if self._broker.faults.strikes("message again while handled"):
                self._broker.trace.reach("fault: message again while handled")
                again = letter.delivery
                copy = Delivery(again.topic, again.key, again.headers, again.body, None)
                self._group.put(self._broker.letter(copy))
        return [letter.delivery for letter in letters]

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._process.must_live()
        faults = self._broker.faults
        if faults.strikes("crash before acknowledge"):
            self._process.die("before acknowledge")
        for delivery in deliveries:
            letter = self._open.pop(id(delivery), None)
            if letter is None:
                continue
            self._broker.in_hand -= 1
            if self._broker.down or faults.strikes("acknowledgement lost"):
                self._broker.trace.reach("fault: acknowledgement lost")
                self._group.put(self._broker.letter(letter.delivery))
            elif isinstance(delivery.token, Receipt):
                delivery.token.settle()

    async def close(self) -> None:
        self._give_back()
        self._group.filled.set()

    def _give_back(self) -> None:
        self._closed = True
        for letter in self._open.values():
            self._group.put(letter)
        self._broker.in_hand -= len(self._open)
        self._open.clear()

    def _ready_letters(self) -> list[Letter]:
        broker, faults = self._broker, self._broker.faults
        if broker.down:
            return []
        now_s = broker.loop.time()
        there = [letter for letter in self._group.waiting if letter.at_s <= now_s]
        if len(there) > 1 and faults.strikes("messages out of order"):
            broker.trace.reach("fault: messages out of order")
            faults.dice("messages out of order").shuffle(there)
        most = min(self._max_batch, faults.dice("batch").choice((1, 1, 3, MOST_AT_ONCE)))
        return there[:most]

    async def _wait(self) -> None:
        """Until something comes, or what is on its way arrives, or the broker is back."""
        now_s = self._broker.loop.time()
        arrivals = [max(letter.at_s, self._broker.down_until_s) for letter in self._group.waiting]
        self._group.filled.clear()
        try:
            async with asyncio.timeout(max(0.0, min(arrivals) - now_s) + 0.001 if arrivals else None):
                await self._group.filled.wait()
        except TimeoutError:
            return

    def _say(self, what: str, letters: Sequence[Letter]) -> None:
        told = ", ".join(f"{letter.delivery.topic} {letter.delivery.key[-6:]}" for letter in letters)
        self._broker.trace.say(self._process.name, f"{what} {told}")


class BrokerDoor:
    """A process's connection to the broker."""

    def __init__(self, broker: SimBroker, process: Process) -> None:
        self.capabilities = broker.capabilities
        self._broker = broker
        self._process = process

    async def publish(self, messages: Sequence[Message]) -> None:
        broker, faults = self._broker, self._broker.faults
        await asyncio.sleep(0)
        self._process.must_live()
        if broker.down or faults.strikes("publish refused"):
            self._say("is not let publish", messages)
            raise BrokerUnavailable("The broker does not answer")
        if faults.strikes("publish half done"):
            taken = messages[: faults.dice("publish half done").randint(1, len(messages))]
            for message in taken:
                broker.take(message)
            self._say("does not learn that it published", taken)
            raise BrokerUnavailable("The broker did not answer in time")
        receipts = [broker.take(message) for message in messages]
        self._say("publishes", messages)
        if faults.strikes("crash after publish"):
            self._process.die("after publish")
        await asyncio.sleep(0)
        if not self.capabilities.durable:
            for receipt in receipts:
                if receipt.open > 0:
                    await receipt.settled.wait()

    async def declare(self, audience: Mapping[str, Sequence[str]]) -> None:
        """All groups are there from the beginning."""

    async def subscribe(self, group: str, topics: Sequence[str], *, max_batch: int = 100) -> SimSubscription:
        await self.ping()
        return SimSubscription(self._broker, self._broker.groups[group], self._process, max_batch)

    async def backlog(self, audience: Mapping[str, Sequence[str]]) -> Mapping[str, Backlog]:
        await self.ping()
        return {name: Backlog(len(self._broker.groups[name].waiting), exact=False) for name in audience}

    async def ping(self) -> None:
        self._process.must_live()
        if self._broker.down:
            raise BrokerUnavailable("The broker does not answer")

    async def close(self) -> None:
        """Nothing is kept open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _say(self, what: str, messages: Sequence[Message]) -> None:
        told = ", ".join(f"{message.topic} {message.key[-6:]}" for message in messages)
        self._broker.trace.say(self._process.name, f"{what} {told}")
        if "publishes" not in what:
            self._broker.trace.reach(f"fault: {what}")
