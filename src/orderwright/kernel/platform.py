"""Several services in one process: one broker, one set of peers, a door for each.

Invariants: every consumer has joined its group before the first relay sends; the doors open last and close first. One
process owns a data folder (a lock file says which), because the in-process broker lives in that process alone.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from pydantic import SecretStr
from starlette.types import ASGIApp

from orderwright.kernel.brokers import open_broker
from orderwright.kernel.clock import Clock, SystemClock
from orderwright.kernel.database import open_database
from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.httppeer import HttpPeer
from orderwright.kernel.ids import Ids, SystemIds
from orderwright.kernel.manifest import Manifest
from orderwright.kernel.peers import Peers
from orderwright.kernel.runtime import Runtime
from orderwright.kernel.secretfile import read_or_make_secret
from orderwright.kernel.server import Door
from orderwright.kernel.settings import ALL_ROLES, PlatformSettings, Role
from orderwright.kernel.telemetry import Metrics
from orderwright.kernel.tokens import ServiceTokens

GATEWAY = "gateway"


class GatewayPart(Protocol):
    """The gateway, which has no database and hears nothing."""

    app: ASGIApp

    async def stop(self) -> None:
        """Let go of everything."""


GatewayMaker = Callable[[PlatformSettings, Peers, Clock, Ids, Metrics], GatewayPart]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process runs, and where everything listens, also what runs elsewhere."""

    manifests: Mapping[str, Manifest]
    addresses: Mapping[str, tuple[str, int]]
    """Host and port to listen on, for what runs here."""
    urls: Mapping[str, str]
    """Base URLs of what runs elsewhere; several of one service have commas between them."""
    gateway: GatewayMaker | None = None
    audience: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Every service of the installation, and the topics that it hears."""
    roles: frozenset[Role] = ALL_ROLES
    shares_ports: bool = False
    """Whether other processes listen on the same ports."""


class Platform:
    """The services of one process, running."""

    def __init__(
        self, plan: Plan, settings: PlatformSettings, *, clock: Clock | None = None, ids: Ids | None = None
    ) -> None:
        self.settings = settings
        self.runtimes: dict[str, Runtime] = {}
        self.doors: dict[str, Door] = {}
        self.gateway: GatewayPart | None = None
        self.plan = plan
        self._clock: Clock = clock or SystemClock()
        self._ids: Ids = ids or SystemIds()
        self.metrics = Metrics()
        self.notes: dict[str, str] = {}
        """What /ready tells beside its checks; it makes nothing unready."""
        self.broker = open_broker(settings.broker_url)
        self._remote: dict[str, HttpPeer] = {}
        self._lock: IO[Any] | None = None
        self._declaring = asyncio.Lock()
        self._declared = False

    async def start(self) -> None:
        """Migrate, subscribe, run, open the doors."""
        self._lock = _own(self.settings) if self.plan.manifests else None
        secret = self._service_secret()
        for name, manifest in self.plan.manifests.items():
            self.runtimes[name] = self._assemble(name, manifest, secret)
        if self.plan.gateway is not None:
            peers = Peers(self._locate, self._clock, self._ids, caller=GATEWAY, metrics=self.metrics)
            self.gateway = self.plan.gateway(self.settings, peers, self._clock, self._ids, self.metrics)
        for name, (host, port) in self.plan.addresses.items():
            app = self.gateway.app if name == GATEWAY and self.gateway else self.runtimes[name].door
            self.doors[name] = Door(
                name, app, host, port, stop_timeout_s=self.settings.stop_timeout_s, shared=self.plan.shares_ports
            )
        # One after the other: Alembic keeps what it migrates in module-wide proxies.
        for runtime in self.runtimes.values():
            await runtime.migrate()
        await asyncio.gather(*(runtime.join() for runtime in self.runtimes.values()))
        for runtime in self.runtimes.values():
            await runtime.start()
        for door in self.doors.values():
            await door.open()

    async def stop(self) -> None:
        """Say that this is going away, close the doors, finish, let go."""
        for runtime in self.runtimes.values():
            runtime.stopping = True
        await self._clock.sleep(self.settings.drain_s)
        await asyncio.gather(*(door.shut() for door in self.doors.values()))
        if self.gateway is not None:
            await self.gateway.stop()
        # What is on its way in this process is finished only while all that hear it still run.
        for runtime in self.runtimes.values():
            runtime.stop_hearing()
        await asyncio.gather(*(runtime.stop() for runtime in self.runtimes.values()))
        for peer in self._remote.values():
            await peer.close()
        await self.broker.close()
        if self._lock is not None:
            self._lock.close()

    async def _declare(self) -> None:
        async with self._declaring:
            if not self._declared:
                await self.broker.declare(self.plan.audience)
                self._declared = True

    def _assemble(self, name: str, manifest: Manifest, secret: str) -> Runtime:
        peers = Peers(self._locate, self._clock, self._ids, caller=name, metrics=self.metrics)
        peers.service_token = ServiceTokens(name, secret, peers, self._clock).get
        return Runtime(
            manifest,
            name,
            database=open_database(self.settings.effective_database_url, name),
            broker=self.broker,
            peers=peers,
            platform=self.settings.model_copy(update={"service_secret": SecretStr(secret)}),
            clock=self._clock,
            ids=self._ids,
            metrics=self.metrics,
            notes=self.notes,
            roles=self.plan.roles,
            declare=self._declare,
        )

    def _locate(self, service: str) -> ASGIApp:
        if service in self.runtimes:
            return self.runtimes[service].app
        if service not in self._remote:
            try:
                url = self.plan.urls[service]
            except KeyError:
                raise ConfigurationError(
                    f"{service} does not run here and has no address; set ORDERWRIGHT_{service.upper()}_URL"
                ) from None
            self._remote[service] = HttpPeer(service, url, clock=self._clock, ids=self._ids, metrics=self.metrics)
        return self._remote[service]

    def _service_secret(self) -> str:
        if self.settings.service_secret is not None:
            return self.settings.service_secret.get_secret_value()
        return read_or_make_secret(self.settings.data_dir / "service-secret", self._ids)


def _own(settings: PlatformSettings) -> IO[Any] | None:
    """Lock the data folder while the in-process broker is used: a second process there would not hear the first."""
    if not settings.broker_url.startswith("memory:"):
        return None
    folder: Path = settings.data_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        lock.close()
        raise ConfigurationError(
            f"{folder} is in use by process {owner}; stop it, or choose another ORDERWRIGHT_DATA_DIR"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
