"""The world outside: a payment provider with books of its own, and a post that takes mail.

Both go on when a process of ours dies. The provider is the real sandbox on a database that never fails; what is added
are the ways in which a provider cannot be relied on. Invariant: what it does under a key, it does once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit
from orderwright.services.notification.domain import Channel
from orderwright.services.notification.providers import Carrier, Outgoing, SendLater
from orderwright.services.notification.settings import NotificationSettings
from orderwright.services.payment.domain import Card
from orderwright.services.payment.providers import (
    Outcome,
    ProviderTimeout,
    ProviderUnavailable,
    Token,
    WebhookEvent,
)
from orderwright.services.payment.providers.sandbox import Sandbox
from orderwright.services.payment.settings import PaymentSettings
from tests.simulation.faults import Faults
from tests.simulation.hosts import Process
from tests.simulation.loop import OWNER, SimLoop
from tests.simulation.trace import Trace

T = TypeVar("T")


class Post:
    """Takes mail, and remembers what it took."""

    def __init__(self, faults: Faults, trace: Trace) -> None:
        self.taken: list[tuple[str, str]] = []
        """(message id, recipient), as often as it was handed over."""
        self._faults = faults
        self.trace = trace

    async def send(self, message: Outgoing) -> None:
        await asyncio.sleep(0.01)
        if self._faults.strikes("mail refused"):
            raise SendLater("The post is closed")
        self.taken.append((message.id, message.recipient))
        self.trace.say("post", f"takes {message.id[-6:]} for {message.recipient}")
        if self._faults.strikes("mail taken, not confirmed"):
            self.trace.reach("fault: mail taken, not confirmed")
            raise SendLater("The connection broke")


class Provider:
    """The sandbox, at the end of a line that breaks."""

    name = Sandbox.name
    accepts_cards = True
    jobs: tuple[Job, ...] = ()

    def __init__(self, sandbox: Sandbox, loop: SimLoop, faults: Faults, trace: Trace, context: Context) -> None:
        self._sandbox = sandbox
        self._loop = loop
        self._faults = faults
        self.trace = trace
        self._context = context

    def for_process(self, process: Process) -> "Line":
        """The provider, as that process reaches it."""
        return Line(self, process)

    async def call(self, process: Process, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Have the provider do something, or not, and perhaps tell."""
        faults = self._faults
        if faults.strikes("provider down"):
            raise self._trouble(ProviderUnavailable, what, "provider down")
        if faults.strikes("provider never hears"):
            await self._silence()
            raise self._trouble(ProviderTimeout, what, "provider never hears")
        late_s = faults.dice("late").uniform(1, 60) if faults.strikes("provider acts late") else 0.0
        # In the outside world's context: it happens, whatever becomes of whoever asked for it.
        doing = self._loop.create_task(self._do(what, work, late_s), context=self._context)
        if faults.strikes("crash in a provider call"):
            await asyncio.sleep(faults.dice("crash in a provider call").choice((0, 0.01, 0.05)))
            process.die("in a provider call")
        result = await asyncio.shield(doing)
        if faults.strikes("provider does not answer"):
            await self._silence()
            raise self._trouble(ProviderTimeout, what, "provider does not answer")
        return result

    async def _do(self, what: str, work: Callable[[], Awaitable[T]], late_s: float) -> T:
        if late_s:
            self.trace.reach("fault: provider acts late")
        slow = self._faults.strikes("provider slow")
        await asyncio.sleep(late_s + (self._faults.dice("provider slow").expovariate(0.3) if slow else 0.005))
        result = await work()
        self.trace.say("provider", f"{what}: {result}")
        return result

    async def _silence(self) -> None:
        await asyncio.sleep(self._faults.dice("silence").choice((0.1, 3.0, 30.0)))

    def _trouble(self, kind: type[Exception], what: str, fault: str) -> Exception:
        self.trace.say("provider", f"{what}: {fault}")
        self.trace.reach(f"fault: {fault}")
        return kind(fault)


class Line:
    """The port `PaymentProvider`, over the line."""

    name = Sandbox.name
    accepts_cards = True
    calls_at_once = Sandbox.calls_at_once
    jobs: tuple[Job, ...] = ()

    def __init__(self, provider: Provider, process: Process) -> None:
        self._provider = provider
        self._process = process
        self._sandbox = provider._sandbox

    async def tokenize(self, cards: Sequence[Card]) -> Sequence[Token]:
        return await self._sandbox.tokenize(cards)

    def describe(self, token: str) -> Token:
        return self._sandbox.describe(token)

    async def charge(self, key: str, token: str, amount_minor: int, currency: str) -> Outcome:
        self._process.must_live()
        work = partial(self._sandbox.charge, key, token, amount_minor, currency)
        return await self._provider.call(self._process, f"charge {key[-6:]} {amount_minor}", work)

    async def lookup(self, key: str) -> Outcome | None:
        self._process.must_live()
        found = await self._provider.call(self._process, f"look up {key[-6:]}", partial(self._sandbox.lookup, key))
        if found is not None:
            self._provider.trace.reach("unknown charge resolved by asking the provider")
        return found

    async def refund(self, key: str, charge_key: str, amount_minor: int) -> None:
        self._process.must_live()
        work = partial(self._sandbox.refund, key, charge_key, amount_minor)
        await self._provider.call(self._process, f"refund {key[-6:]} of {charge_key[-6:]} {amount_minor}", work)

    async def lookup_refund(self, key: str) -> int | None:
        self._process.must_live()
        work = partial(self._sandbox.lookup_refund, key)
        return await self._provider.call(self._process, f"look up refund {key[-6:]}", work)

    def read_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        return self._sandbox.read_webhook(headers, body)

    async def start(self) -> None:
        """It is there already."""

    async def close(self) -> None:
        """It stays."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Who is out there."""

    provider: Provider
    post: Post


OUTSIDE: ContextVar[Outside] = ContextVar("simulated_outside")
"""The outside world of the run that is at work."""


def open_line(_kit: Kit, _settings: PaymentSettings) -> Line:
    """What payment opens for its provider."""
    process = OWNER.get()
    assert isinstance(process, Process)
    return OUTSIDE.get().provider.for_process(process)


def ways_out(_settings: NotificationSettings) -> dict[Channel, Carrier]:
    """What notification sends through."""
    return {Channel.EMAIL: OUTSIDE.get().post}
