"""What the endpoints work with."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from orderwright.kernel.batching import Intake
from orderwright.kernel.unit import Units
from orderwright.services.inventory.actions.reserve import Wish
from orderwright.services.inventory.settings import InventorySettings


@dataclass(frozen=True, slots=True)
class InventoryDesk:
    """The tools of the endpoints."""

    units: Units
    settings: InventorySettings
    intake: Intake[Wish, str]


async def _desk(request: Request) -> InventoryDesk:
    desk: InventoryDesk = request.app.state.desk
    return desk


Desk = Annotated[InventoryDesk, Depends(_desk)]
