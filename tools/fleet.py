"""The platform in processes of its own, as an operator runs it: for stories, for chaos and for the benchmark.

Invariant: what is started here is ended here, whatever happens in between.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2

from orderwright.cli.goods import LOGINS_FILE
from orderwright.services import PORTS
from tools.backends.server import free_port

START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 30.0

SEPARATE: tuple[tuple[str, ...], ...] = tuple((service,) for service in PORTS)
"""Every service in a process of its own."""
TOGETHER: tuple[tuple[str, ...], ...] = (tuple(PORTS),)
"""All services in one process."""
HALVES: tuple[tuple[str, ...], ...] = (
    ("gateway", "identity", "catalog", "cart", "order"),
    ("payment", "inventory", "shipping", "notification"),
)
"""Two processes for two cores: what customers talk to, and what happens behind it."""


class DidNotStart(Exception):
    """A process ended, or did not become ready in time."""


class Member:
    """One process, with some of the services in it."""

    def __init__(self, services: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.services = tuple(services)
        self.ports = {service: free_port() for service in services}
        self.log = log
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.log.stem

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the process. It must have been started."""
        assert self._process is not None
        return self._process.pid

    def url(self, service: str) -> str:
        """Where a service of this process listens."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def start(self, also: Mapping[str, str] | None = None) -> None:
        """Begin; `until_ready` waits for it."""
        self._environment |= also or {}
        ports = {f"ORDERWRIGHT_{service.upper()}_PORT": str(port) for service, port in self.ports.items()}
        command = [sys.executable, "-m", "orderwright.cli.main", "run", *self.services]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self._environment, **ports}, stdout=log, stderr=log
            )

    def until_ready(self) -> None:
        """Wait until each service says that it can work. DidNotStart."""
        give_up_s = time.monotonic() + START_TIMEOUT_S
        for service in self.services:
            while not _answers(f"{self.url(service)}/health"):
                if not self.running or time.monotonic() > give_up_s:
                    raise DidNotStart(f"{service} did not come up; its log ends:\n{self.tail()}")
                time.sleep(0.1)

    def signal(self, number: signal.Signals) -> None:
        """Tell the process something."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, with nothing finished."""
        if self.running:
            self.signal(signal.SIGKILL)
            self.wait()

    def stop(self) -> int:
        """End it as an operator does; answers its exit status."""
        if self.running:
            self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; one that does not come is made."""
        assert self._process is not None
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def tail(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-4000:]


class Fleet:
    """Processes that make up a platform: each group of services in `copies` of them."""

    def __init__(
        self,
        folder: Path,
        database: str,
        broker: str,
        *,
        groups: Sequence[Sequence[str]] = SEPARATE,
        copies: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.broker_url = broker
        self.environment = {
            "ORDERWRIGHT_DATA_DIR": str(folder),
            "ORDERWRIGHT_DATABASE_URL": database,
            "ORDERWRIGHT_BROKER_URL": broker,
            "ORDERWRIGHT_LOG_LEVEL": "warning",
            "ORDERWRIGHT_STOP_TIMEOUT_S": "5",
            **(settings or {}),
        }
        self.members = [
            Member(group, self.environment, folder / f"{name}-{copy}.log")
            for group in groups
            for name in ["all" if len(group) == len(PORTS) else "+".join(group)]
            for copy in range(copies)
        ]

    def of(self, service: str) -> list[Member]:
        """The processes with that service in them."""
        return [member for member in self.members if service in member.services]

    def address(self, service: str) -> str:
        """Where the first copy of a service listens."""
        return self.of(service)[0].url(service)

    def start(self) -> None:
        """Start everything. DidNotStart."""
        where = {
            f"ORDERWRIGHT_{service.upper()}_URL": ",".join(member.url(service) for member in self.of(service))
            for service in PORTS
        }
        # The first one of all makes the secret that the others share.
        first, *others = self.members
        first.start(where)
        first.until_ready()
        for member in others:
            member.start(where)
        for member in others:
            member.until_ready()

    def load_demo(self) -> dict[str, dict[str, str]]:
        """Put the demo's goods and people in; answers the logins by role."""
        command = [sys.executable, "-m", "orderwright.cli.main", "load-demo"]
        subprocess.run(command, env={**os.environ, **self.environment}, check=True, stdout=subprocess.DEVNULL)
        logins: dict[str, dict[str, str]] = json.loads((self.folder / LOGINS_FILE).read_text())
        return logins

    def stop(self) -> dict[str, int]:
        """Stop everything, the gateway first, so that nobody asks who is no longer there; answers exit statuses."""
        running = [member for member in self.members if member.running]
        doors = [member for member in running if "gateway" in member.services]
        statuses = {member.name: member.stop() for member in doors}
        for member in running:
            if member not in doors:
                member.signal(signal.SIGTERM)
        return statuses | {member.name: member.wait() for member in running if member not in doors}

    def kill(self) -> None:
        """End everything at once."""
        for member in self.members:
            member.kill()


@contextmanager
def running(fleet: Fleet) -> Iterator[Fleet]:
    """A fleet that is started, and ended whatever happens."""
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.kill()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False
