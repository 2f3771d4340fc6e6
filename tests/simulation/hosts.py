"""Processes that live and die, and the hosts that start them again.

Invariants: a dead process reaches nothing any more, neither its database nor the broker nor a peer; what it had in
memory is gone; its successor begins as production does (`migrate`, `join`, `start`) on the same database.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from fastapi import FastAPI

from orderwright.kernel.auth import Caller
from orderwright.kernel.deadletters.desk import DeadLetterDesk
from orderwright.kernel.errors import BrokerUnavailable, DatabaseUnavailable
from orderwright.kernel.handling import Handler
from orderwright.kernel.jobs import Job
from orderwright.kernel.messages import Received
from orderwright.kernel.peers import Peers
from orderwright.kernel.retry import RETRY_MESSAGES
from orderwright.kernel.runtime import Runtime
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.unit import UnitOfWork
from tests.simulation.faults import Faults
from tests.simulation.idling import Idling
from tests.simulation.loop import OWNER, SimLoop
from tests.simulation.probes import Rows, handled, overtaken, reach
from tests.simulation.trace import Trace

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
STOP_TIMEOUT_S = 10.0
PAUSED_S = (1.0, 40.0)
"""How long a process may be frozen: longer than the shortest lease."""


class SimClock:
    """A process's clock: the loop's time, and perhaps wrong."""

    def __init__(self, loop: SimLoop) -> None:
        self.skew_s = 0.0
        self._loop = loop

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time() + self.skew_s)

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Process:
    """One life of a service's process."""

    def __init__(self, host: "Host", number: int) -> None:
        self.host = host
        self.name = f"{host.name}#{number}"
        self.dead = False
        self.paused = False
        self.open = False
        """Whether it takes requests."""
        self.held: list[asyncio.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.at_death: list[Callable[[], None]] = []
        self.clock = host.clock
        self.runtime: Runtime | None = None
        self.context: Context = copy_context()
        self.context.run(OWNER.set, self)

    def must_live(self) -> None:
        """Unwinds whoever works for a dead process."""
        if self.dead:
            raise asyncio.CancelledError

    def die(self, where: str) -> NoReturn:
        """Be killed here and now, as by kill -9."""
        self.host.trace.reach(f"fault: crash {where}")
        self.end(f"is killed {where}")
        raise asyncio.CancelledError

    def end(self, how: str) -> None:
        """No more of it; the host starts another one."""
        if self.dead:
            return
        self.host.trace.say(self.name, how)
        self.dead, self.open, self.paused = True, False, False
        for let_go in self.at_death:
            let_go()
        self.host.loop.give_back(self.held)
        for task in self.tasks:
            if not task.done():
                task.cancel()
        self.tasks.clear()
        self.host.loop.draining = True
        self.host.start_again()

    def pause(self, seconds: float) -> None:
        """Be frozen for so long, as by SIGSTOP or a long collection of garbage."""
        self.host.trace.say(self.name, f"is frozen for {seconds:.1f} s")
        self.paused = True
        self.host.loop.call_later(seconds, self.go_on)

    def go_on(self) -> None:
        """Work again, as if nothing had been."""
        if self.paused:
            self.paused = False
            self.host.loop.give_back(self.held)


class Host:
    """The place of one replica of one service."""

    def __init__(
        self,
        name: str,
        service: str,
        loop: SimLoop,
        faults: Faults,
        trace: Trace,
        assemble: Callable[[Process], Runtime],
    ) -> None:
        self.name = name
        self.service = service
        self.loop = loop
        self.faults = faults
        self.trace = trace
        self.clock = SimClock(loop)
        self.lives = 0
        self.process: Process | None = None
        self.closed = False
        self._assemble = assemble

    def boot(self) -> "asyncio.Task[None]":
        """Start a process."""
        self.lives += 1
        self.process = Process(self, self.lives)
        return self.loop.create_task(self._live(self.process), context=self.process.context)

    def start_again(self) -> None:
        """A supervisor sees that the process is gone, after a while."""
        self.process = None
        if not self.closed:
            after_s = self.faults.dice("restart").choice((0.01, 0.2, 1.0, 5.0)) if self.faults.on else 0.01
            self.loop.call_later(after_s, self._boot_unless_closed)

    async def redeploy(self) -> None:
        """Stop in good order, then start again."""
        process = self.process
        if process is None or process.runtime is None or not process.open:
            return
        self.trace.say(process.name, "is asked to stop")
        process.open = False
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.runtime.stop()
        except (TimeoutError, DatabaseUnavailable, BrokerUnavailable) as error:
            self.trace.say(process.name, f"does not stop well: {type(error).__name__}")
        else:
            self.trace.reach("stopped in good order")
        process.end("has stopped")

    def _boot_unless_closed(self) -> None:
        if not self.closed and self.process is None:
            _ = self.boot()

    async def _live(self, process: Process) -> None:
        try:
            process.runtime = self._assemble(process)
            await process.runtime.migrate()
            await process.runtime.join()
            await process.runtime.start()
        except (DatabaseUnavailable, BrokerUnavailable) as error:
            process.end(f"cannot start: {type(error).__name__}")
            return
        process.open = True


class SimVerifier:
    """Reads tokens that say `id role role`: who signs them is identity's matter, which is not simulated."""

    async def verify(self, token: str) -> Caller:
        """The caller that `token` names."""
        caller, *roles = token.split()
        return Caller(caller, frozenset(roles), float("inf"))


class SimRuntime(Runtime):
    """A runtime whose HTTP door was built before: building one costs more than a whole seed may."""

    def __init__(
        self,
        *args: Any,
        doors: dict[str, FastAPI],
        place: str,
        idling: Idling | None,
        faults: Faults,
        rows: Rows,
        **kwargs: Any,
    ) -> None:
        self._doors = doors
        self._place = place
        self._idling = idling
        self._faults = faults
        self._rows = rows
        self._fails_until_s: dict[str, float] = {}
        super().__init__(*args, **kwargs)
        if idling is not None:
            idling.look_first(self.relay)
        self._handled_notes: WeakKeyDictionary[UnitOfWork, list[str]] = WeakKeyDictionary()
        handlers = self.consumer.handlers._handlers
        for topic, handler in handlers.items():
            handlers[topic] = self._noting(handler)
        self.units.after_commit.append(self._tell_handled)
        if "handler fails" in faults.plan.rates:
            # Dead letters within the run, instead of after ten minutes.
            self.consumer.retries._backoff = replace(RETRY_MESSAGES, attempts=3)

    def _noting(self, handler: Handler) -> Handler:
        def noted(events: Sequence[Received[Any]], uow: UnitOfWork) -> None:
            handler(events, uow)
            self._perhaps_fail(events[0].message.topic)
            if self._rows("SELECT 1 FROM kept_messages LIMIT 1"):
                overtaken(self.service.name, self._rows, self.consumer.handlers, events)
            self._handled_notes.setdefault(uow, []).extend(f"{one.message.topic} {one.message.id}" for one in events)

        return noted

    def _perhaps_fail(self, topic: str) -> None:
        """As a mistake in a handler would have it, until it is put right."""
        now_s = self._clock.monotonic_s()
        if self._faults.strikes("handler fails"):
            reach("fault: handler fails")
            self._fails_until_s[topic] = now_s + self._faults.dice("handler fails").uniform(0, 10)
        if self._faults.on and now_s < self._fails_until_s.get(topic, 0.0):
            raise RuntimeError("A mistake in the handler")

    def _tell_handled(self, uow: UnitOfWork) -> None:
        for message in self._handled_notes.pop(uow, ()):
            handled(self.service.name, message)

    def _jobs_here(self) -> Iterator[Job]:
        jobs = super()._jobs_here()
        return jobs if self._idling is None else self._idling.only_with_work(jobs)

    def _make_api(self, peers: Peers, platform: PlatformSettings) -> FastAPI:
        if self._place not in self._doors:
            self._doors[self._place] = super()._make_api(peers, platform)
        api = self._doors[self._place]
        api.state.desk = self.service.desk
        api.state.dead_letters = DeadLetterDesk(self.consumer.handlers, self.units)
        api.state.verifier = SimVerifier()
        api.state.platform = platform
        return api
