"""What there is: routes and events, read from the manifests."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.routing import APIRoute
from rich.console import Console
from rich.table import Table

from orderwright.cli.plan import load
from orderwright.contracts import EVENTS
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.database import open_database
from orderwright.kernel.feed import Feed
from orderwright.kernel.ids import SystemIds
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.peers import Peers
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.unit import Units
from orderwright.services import SERVICES


@contextmanager
def assembled() -> Iterator[dict[str, Service]]:
    """Every service, put together but not running, on a folder that goes away again."""
    with tempfile.TemporaryDirectory() as folder:
        settings = PlatformSettings(data_dir=Path(folder), database_url=None)
        clock, ids = SystemClock(), SystemIds()
        services: dict[str, Service] = {}
        for name, path in SERVICES.items():
            database = open_database(settings.effective_database_url, name)
            feed = Feed()
            peers = Peers(lambda service: services[service].router, clock, ids)
            kit = Kit(settings, Units(name, database, clock, ids, feed), peers, clock, ids, feed)
            services[name] = load(path)(kit)
        yield services


def print_routes() -> None:
    """Print every route of every service."""
    table = Table("service", "method", "path", "what it does", box=None)
    with assembled() as services:
        for service in services.values():
            for route in service.router.routes:
                if isinstance(route, APIRoute):
                    table.add_row(service.name, ", ".join(sorted(route.methods or ())), route.path, route.summary or "")
    Console(highlight=False).print(table)


def print_events() -> None:
    """Print every event, who says it and who hears it."""
    table = Table("event", "topic", "said by", "heard by", box=None)
    with assembled() as services:
        for event in EVENTS:
            heard = [service.name for service in services.values() if event in service.consumes]
            table.add_row(event.event_name, event.topic, event.owner, ", ".join(heard))
    Console(highlight=False).print(table)
