"""An event loop in which time is free and chance is seeded: the same seed runs the same steps in the same order.

What is ready runs in an order that is drawn; when nothing is ready the clock jumps to the next timer. Each handle
belongs to the process in whose context it was made: what belongs to a dead process is only unwound, at once and in its
own order, so that its end leaves no mark on anything else; what belongs to a paused one waits.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, NoReturn, Protocol, TypeVar

T = TypeVar("T")


class Owner(Protocol):
    """A simulated process, as the loop sees it."""

    dead: bool
    paused: bool
    held: list[asyncio.Handle]
    tasks: list["asyncio.Task[Any]"]


OWNER: ContextVar[Owner | None] = ContextVar("simulated_process", default=None)
"""The process that is at work; None for the outside world."""


class StuckError(Exception):
    """Nothing is ready and no timer is set: the simulation can never go on."""


class SimLoop(asyncio.BaseEventLoop):
    """The loop of one seed."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.steps = 0
        self.draining = False
        """Somebody has just died and is to be unwound first."""
        self._chance = dice.random
        self._now_s = 0.0
        self._ready: list[asyncio.Handle] = []
        self._scheduled: list[asyncio.TimerHandle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        """All that were ever made. asyncio's own list has those of earlier loops too, while nobody collects them."""
        self.failures: list[BaseException] = []
        """What was raised by a callback, where nobody could catch it: a fault of the simulation itself."""
        self.set_exception_handler(lambda _, context: self._note(context))

    def time(self) -> float:
        return self._now_s

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        task: asyncio.Task[T] = super().create_task(coro, name=name, context=context)
        self.tasks.append(task)
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            owner.tasks.append(task)
        return task

    def give_back(self, held: list[asyncio.Handle]) -> None:
        """What was held back is ready again."""
        self._ready.extend(held)
        held.clear()

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *_: Any) -> NoReturn:  # type: ignore[override]
        raise AssertionError(f"{func} wants a thread, and threads cannot be replayed")

    def _note(self, context: dict[str, Any]) -> None:
        # A task whose end nobody looks at is no fault; a process that dies leaves many.
        if "handle" in context and "exception" in context:
            self.failures.append(context["exception"])

    def _run_once(self) -> None:
        if self.failures:
            raise self.failures[0]
        if self.draining:
            self._unwind_the_dead()
        ready = self._ready
        self._let_time_pass()
        self.steps += 1
        index = int(self._chance() * len(ready))
        ready[index], ready[-1] = ready[-1], ready[index]
        handle = ready.pop()
        owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
        if owner is not None and owner.paused and not owner.dead:
            owner.held.append(handle)
        elif not handle.cancelled():
            handle._run()

    def _let_time_pass(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)
        if not ready:
            if not scheduled:
                raise StuckError("Nothing is ready and no timer is set")
            self._now_s = max(self._now_s, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now_s:
            ready.append(heapq.heappop(scheduled))

    def _unwind_the_dead(self) -> None:
        """Run what dead processes still have to run, before anybody else and without drawing."""
        while True:
            dead = [handle for handle in self._ready if _is_dead(handle)]
            if not dead:
                self.draining = False
                return
            self._ready[:] = [handle for handle in self._ready if not _is_dead(handle)]
            for handle in dead:
                if not handle.cancelled():
                    handle._run()

    def _process_events(self, event_list: object) -> None:
        """No sockets, no events."""

    def _write_to_self(self) -> None:
        """No threads that could wake the loop."""


def _is_dead(handle: asyncio.Handle) -> bool:
    owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
    return owner is not None and owner.dead
