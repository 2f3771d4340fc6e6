"""What there is: routes, events and settings, read from the code."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from orderwright import __version__
from orderwright.audit.settings import AuditSettings
from orderwright.cli.plan import load
from orderwright.contracts import EVENTS
from orderwright.gateway.settings import GatewaySettings
from orderwright.kernel import openapi
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.database import open_database
from orderwright.kernel.feed import Feed
from orderwright.kernel.ids import SystemIds
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.peers import Peers
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.unit import Units
from orderwright.kernel.web import create_app
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
            for method, path, summary in routes_of(service):
                table.add_row(service.name, method, path, summary)
    Console(highlight=False).print(table)


def routes_of(service: Service) -> list[tuple[str, str, str]]:
    """Method, path and summary of each route, also of those in routers within routers."""
    app = create_app(service.name, service.summary, routers=service.routers, version=__version__)
    return [
        (method.upper(), path, operation.get("summary", ""))
        for path, operations in openapi.document(app)["paths"].items()
        for method, operation in operations.items()
    ]


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
            lines.append(f"| `{prefix}{name.upper()}` | {_default(member.default)} | {member.description} |")
        lines.append("")
    lines += [
        "## Where services listen and are",
        "",
        "| name | default | what it is for |",
        "|---|---|---|",
        "| `ORDERWRIGHT_<SERVICE>_PORT`, `_HOST` | see the ports | where a service, or the gateway, listens |",
        "| `ORDERWRIGHT_<SERVICE>_URL` | `http://127.0.0.1:<port>` | where a service is that runs elsewhere |",
        "",
        "Several replicas of a service: their URLs, with commas between, or that of a name that has several addresses.",
    ]
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    """A default as it would stand in the environment."""
    if value is None:
        return "unset"
    return f"`{json.dumps([str(one) for one in value])}`" if isinstance(value, list) else f"`{value}`"
