"""What there is: routes, events and settings, read from the code."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.routing import APIRoute
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from orderwright.audit.settings import AuditSettings
from orderwright.cli.plan import load
from orderwright.contracts import EVENTS
from orderwright.gateway.settings import GatewaySettings
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.database import open_database
from orderwright.kernel.feed import Feed
from orderwright.kernel.ids import SystemIds
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.peers import Peers
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.unit import Units
from orderwright.services import SERVICES
from orderwright.services.cart.settings import CartSettings
from orderwright.services.identity.settings import IdentitySettings
from orderwright.services.inventory.settings import InventorySettings
from orderwright.services.notification.settings import NotificationSettings
from orderwright.services.order.settings import OrderSettings
from orderwright.services.payment.settings import PaymentSettings

SETTINGS: dict[str, type[BaseSettings]] = {
    "The platform": PlatformSettings,
    "Gateway": GatewaySettings,
    "Identity": IdentitySettings,
    "Cart": CartSettings,
    "Order": OrderSettings,
    "Payment": PaymentSettings,
    "Inventory": InventorySettings,
    "Notification": NotificationSettings,
    "Auditor": AuditSettings,
}


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


def settings_document() -> str:
    """Every setting as Markdown: its name in the environment, its default, and what it is for."""
    lines = ["# Settings", "", "From the environment. `orderwright settings` prints this page from the code.", ""]
    for title, model in SETTINGS.items():
        lines += [f"## {title}", "", "| name | default | what it is for |", "|---|---|---|"]
        prefix = model.model_config.get("env_prefix") or ""
        for name, member in model.model_fields.items():
            default = "unset" if member.default is None else f"`{member.default}`"
            lines.append(f"| `{prefix}{name.upper()}` | {default} | {member.description} |")
        lines.append("")
    lines += [
        "## Where services listen and are",
        "",
        "| name | default | what it is for |",
        "|---|---|---|",
        "| `ORDERWRIGHT_<SERVICE>_PORT`, `_HOST` | see the ports | where a service, or the gateway, listens |",
        "| `ORDERWRIGHT_<SERVICE>_URL` | `http://127.0.0.1:<port>` | where a service is that runs elsewhere |",
    ]
    return "\n".join(lines) + "\n"
