"""The identity service's HTTP door.

schemas   what is sent and answered     proving   register, log in, refresh, log out, keys
self_service   one's own account             admin     accounts and roles; contacts for services
"""

from fastapi import APIRouter

from orderwright.kernel.web import joined
from orderwright.services.identity.api import admin, proving, self_service


def router() -> APIRouter:
    """All routes of the service."""
    return joined(proving.router, self_service.router, admin.router)
