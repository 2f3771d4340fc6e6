"""The inventory's HTTP door.

schemas        what is sent and answered       desk         what endpoints work with
levels         stock and availability          warehouses   where goods lie
reservations   goods set aside
"""

from fastapi import APIRouter

from orderwright.kernel.web import joined
from orderwright.services.inventory.api import levels, reservations, warehouses


def router() -> APIRouter:
    """All routes of the service."""
    return joined(levels.router, reservations.router, warehouses.router)
