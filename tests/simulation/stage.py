"""What seeds share because it is dear to make: databases that were migrated and stocked, HTTP doors, patched edges.

Invariant: nothing that one seed did can be seen by the next; databases are set back, and everything else that lives
longer than a seed knows nothing of it.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from fastapi import FastAPI
from pydantic_settings import BaseSettings

from orderwright.kernel.database import Database
from orderwright.kernel.manifest import Manifest
from orderwright.kernel.migrations import migrate
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import Metrics
from orderwright.services import SERVICES
from orderwright.services.payment.providers import PROVIDERS
from tests.forgetting import forget_routes
from tests.simulation import outside
from tests.simulation.disk import Disk, SimDatabase
from tests.simulation.probes import watching

LEFT_OUT = frozenset({"identity"})
"""Its part is played by the network: it hears and says no events, and its passwords are hashed in threads."""
COLLECT_EVERY = 100
ENVIRONMENT = {
    # Shorter than in production, so that every deadline falls within a run.
    "ORDERWRIGHT_ORDER_PAYMENT_TIMEOUT_S": "25",
    "ORDERWRIGHT_ORDER_RESERVATION_TIMEOUT_S": "20",
    "ORDERWRIGHT_ORDER_UNKNOWN_PRICE_PATIENCE_S": "10",
    "ORDERWRIGHT_INVENTORY_RESERVATION_MINUTES": "0.35",
    "ORDERWRIGHT_PAYMENT_SANDBOX_WEBHOOK_SECRET": "between us",
}


@dataclass(slots=True)
class Stage:
    """Everything that is made once a process."""

    manifests: dict[str, Manifest]
    disks: dict[str, Disk]
    doors: dict[str, FastAPI] = field(default_factory=dict)
    platform: PlatformSettings = field(default_factory=lambda: PlatformSettings(data_dir=Path("/nowhere")))
    metrics: Metrics = field(default_factory=Metrics)
    runs: int = 0

    def set_back(self) -> None:
        """Have every database be as it was before the first seed, and memory too."""
        self.runs += 1
        if self.runs % COLLECT_EVERY == 0:
            forget_routes()
            gc.collect()
        for disk in self.disks.values():
            disk.set_back()

    def keep(self) -> None:
        """What the databases hold now is what every seed begins with."""
        for disk in self.disks.values():
            disk.keep()
        self.settle()

    def settle(self) -> None:
        """What is there by now is made once and stays: it need not be looked through for garbage."""
        forget_routes()
        gc.collect()
        gc.freeze()


def make_stage() -> Stage:
    """Empty databases, and the services' manifests."""
    manifests: dict[str, Manifest] = {}
    for name, path in SERVICES.items():
        if name not in LEFT_OUT:
            module, _, maker = path.partition(":")
            manifests[name] = getattr(import_module(module), maker)
    return Stage(manifests, {name: Disk(name) for name in (*manifests, "sandbox")})


async def _migrate_once(database: Database, folder: Path) -> bool:
    """What a starting process does with its database, without looking up what every seed begins with."""
    if not (isinstance(database, SimDatabase) and database.up_to_date):
        return await migrate(database, folder)
    await database.write(lambda _: None)
    return False


def _settings_of_services() -> Iterator[tuple[str, Callable[[], BaseSettings]]]:
    """Each service's settings by the name under which its manifest makes them, read once: they stay as they are."""
    for path in SERVICES.values():
        module = import_module(path.partition(":")[0])
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, BaseSettings):
                yield f"{module.__name__}.{name}", cache(kind)


@contextmanager
def staged() -> Iterator[None]:
    """The world outside is the simulated one, settings are the simulation's, and logs are counted, not written."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict("os.environ", ENVIRONMENT))
        stack.enter_context(patch.dict(PROVIDERS, {"sandbox": "tests.simulation.outside:open_line"}))
        stack.enter_context(patch("orderwright.services.notification.manifest.carriers", outside.ways_out))
        stack.enter_context(patch("orderwright.kernel.runtime.migrate", _migrate_once))
        for name, settings in list(_settings_of_services()):
            stack.enter_context(patch(name, settings))
        stack.enter_context(watching())
        # Garbage is collected between seeds: when it happens by itself is nothing that a seed decides.
        gc.disable()
        stack.callback(gc.enable)
        stack.callback(gc.unfreeze)
        yield
