"""A service as a table of contents: what it serves, hears, says and does on a schedule.

Invariant: nothing registers itself by being imported; what is not in its manifest, a service does not do.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import APIRouter

from orderwright.kernel.clock import Clock
from orderwright.kernel.deadletters import api as dead_letters
from orderwright.kernel.feed import Feed
from orderwright.kernel.handling import Handler
from orderwright.kernel.ids import Ids
from orderwright.kernel.jobs import Job
from orderwright.kernel.messages import Event
from orderwright.kernel.peers import Peers
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import Metrics
from orderwright.kernel.unit import Units

Ping = Callable[[], Awaitable[None]]
"""Raises when what it asks for does not work."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What a service is handed when it is assembled: the world, through ports."""

    platform: PlatformSettings
    units: Units
    peers: Peers
    clock: Clock
    ids: Ids
    feed: Feed
    metrics: Metrics = field(default_factory=Metrics)


@dataclass(frozen=True, slots=True)
class Service:
    """One service, assembled."""

    name: str
    port: int
    summary: str
    migrations: Path
    router: APIRouter
    desk: object
    """What the service's endpoints work with; they find it at `request.app.state.desk`."""
    consumes: Mapping[type[Event], Handler] = field(default_factory=dict)
    patience_s: float = 0.0
    """How much later whoever waits for what comes of what it hears may have it: while much arrives, it lets so much of
    it come together. That leaves the processors to those for whom somebody waits now."""
    urgent: tuple[type[Event], ...] = ()
    """What it hears that somebody waits for at the door. While much arrives the rest of it goes along with these, and
    begins a transaction of its own only when none of them has come for a while."""
    optimistic: bool = False
    """Most of what it hears, its handlers can do without locks: they read, then they write what still holds."""
    emits: tuple[type[Event], ...] = ()
    jobs: tuple[Job, ...] = ()
    pings: Mapping[str, Ping] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    """What readiness tells too, as it is at that moment; it makes nothing unready."""
    on_start: tuple[Callable[[], Awaitable[None]], ...] = ()
    """Run once after the migrations and before the doors open."""
    on_stop: tuple[Callable[[], Awaitable[None]], ...] = ()

    @property
    def routers(self) -> tuple[APIRouter, ...]:
        """All that it serves: its own, and its dead letters when it hears anything."""
        return (self.router, dead_letters.router) if self.consumes else (self.router,)


Manifest = Callable[[Kit], Service]
"""What `services/<name>/manifest.py` exports as `assemble`."""
