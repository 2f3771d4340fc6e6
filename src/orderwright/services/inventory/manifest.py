"""The inventory: sets goods aside, lets them go, and never sells what is not there."""

from pathlib import Path

from orderwright.contracts import inventory
from orderwright.contracts.orders import OrderCreated
from orderwright.kernel.batching import Intake
from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit, Service
from orderwright.services.inventory.actions import reserve, settle, stock
from orderwright.services.inventory.api import router
from orderwright.services.inventory.api.desk import InventoryDesk
from orderwright.services.inventory.handlers import handlers
from orderwright.services.inventory.settings import InventorySettings

LOOK_EVERY_S = 30.0
"""Levels are told when they change; this is for what a crash left untold."""


def assemble(kit: Kit) -> Service:
    """The inventory service, ready to run."""
    settings = InventorySettings()
    desk = InventoryDesk(kit.units, settings, Intake(kit.units, reserve.reserve))

    async def expire_reservations() -> bool:
        return await kit.units.run(settle.expire) > 0

    async def publish_levels() -> bool:
        told = await kit.units.run(stock.publish_levels)
        # However often a hot product changes, its level is told once in this time.
        await kit.clock.sleep(settings.publish_every_s)
        return told > 0

    async def ensure_default_warehouse() -> None:
        await kit.units.run(stock.ensure_default_warehouse)

    return Service(
        name="inventory",
        port=8003,
        summary="Knows what lies where, and sets it aside for orders.",
        migrations=Path(__file__).parent / "migrations",
        router=router(),
        desk=desk,
        consumes=handlers(settings),
        urgent=(OrderCreated,),
        optimistic=True,
        emits=inventory.EVENTS,
        jobs=(
            Job("expire-reservations", expire_reservations, settings.expire_every_s),
            Job("publish-levels", publish_levels, LOOK_EVERY_S),
        ),
        on_start=(ensure_default_warehouse,),
    )
