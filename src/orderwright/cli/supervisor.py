"""Several processes on one machine: copies of services, or each service in a process of its own.

Invariants: a child that ends by itself is started again, ever more slowly while it keeps ending; a stop reaches every
child, and this process outlives them all; if it is killed all the same, they notice and stop by themselves. Nothing is
shared with the children but the environment: they meet at the broker, the databases and the ports.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from orderwright.kernel.clock import Clock, SystemClock
from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import configure_logs

log = structlog.get_logger(__name__)

LIVED_LONG_S = 30.0
"""Who lived so long did not end because of how it was started."""
MAX_PAUSE_S = 30.0
GRACE_S = 5.0
"""So much longer than their own deadline children get to stop."""


@dataclass(frozen=True, slots=True)
class Child:
    """One process to keep running."""

    name: str
    command: tuple[str, ...]


def commands(services: Sequence[str], role: str, *, workers: int, separate: bool, broker_url: str) -> tuple[Child, ...]:
    """The processes that run `services`. ConfigurationError when they could not work together."""
    if workers < 1:
        raise ConfigurationError(f"{workers} workers would do nothing; say 1 or more")
    if broker_url.startswith("memory:"):
        raise ConfigurationError(
            "Several processes need a broker that they can meet at; the one in ORDERWRIGHT_BROKER_URL lives in one "
            "process. Set it to redis://, amqp:// or kafka://"
        )
    groups = [(service,) for service in services] if separate else [tuple(services)]
    this = (sys.executable, "-m", "orderwright.cli.main", "run")
    shared = ("--shared-ports",) if workers > 1 else ()
    return tuple(
        Child(f"{'+'.join(group)} {number}", (*this, *group, "--role", role, *shared))
        for group in groups
        for number in range(1, workers + 1)
    )


class Supervisor:
    """Keeps children running until it is told to stop."""

    def __init__(self, children: Sequence[Child], settings: PlatformSettings, clock: Clock | None = None) -> None:
        self._children = children
        self._settings = settings
        self._clock: Clock = clock or SystemClock()
        self._stopping = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def run(self) -> None:
        """Start them, keep them running, and stop them when a signal says so."""
        configure_logs(form=self._settings.log_format, level=self._settings.log_level)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, loop)
        # Children hold one end of a pipe. The other is held here only, so the kernel closes it with this process, in
        # whatever way that ends.
        lifeline, ours = os.pipe()
        try:
            await asyncio.gather(*(self._keep(child, lifeline) for child in self._children))
        finally:
            os.close(ours)
            os.close(lifeline)

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._signal(signal.SIGTERM)
        # Doors and consumers each have the deadline to themselves.
        loop.call_later(
            2 * self._settings.stop_timeout_s + self._settings.drain_s + GRACE_S, self._signal, signal.SIGKILL
        )

    def _signal(self, number: signal.Signals) -> None:
        for name, process in self._running.items():
            log.info("process_signalled", process=name, pid=process.pid, signal=number.name)
            process.send_signal(number)

    async def _keep(self, child: Child, lifeline: int) -> None:
        failures = 0
        while not self._stopping.is_set():
            began_s = self._clock.monotonic_s()
            # A session of its own, so that Ctrl-C reaches it once, through here.
            process = await asyncio.create_subprocess_exec(
                *child.command, "--lifeline", str(lifeline), pass_fds=(lifeline,), start_new_session=True
            )
            log.info("process_started", process=child.name, pid=process.pid)
            self._running[child.name] = process
            if self._stopping.is_set():
                process.terminate()
            status = await process.wait()
            del self._running[child.name]
            if not self._stopping.is_set():
                failures = 0 if self._clock.monotonic_s() - began_s > LIVED_LONG_S else failures + 1
                pause_s = min(0.5 * 2.0**failures, MAX_PAUSE_S)
                log.error("process_ended", process=child.name, status=status, again_in_s=pause_s)
                await self._pause(pause_s)

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return
