"""The order service's HTTP door.

schemas   what is sent and answered        placing   POST /orders        reading   what an order is and was
changing  address, items, cancel, push     live      the stream          desk      what the endpoints work with
"""

from fastapi import APIRouter

from orderwright.kernel.web import joined
from orderwright.services.order.api import changing, live, placing, reading


def router() -> APIRouter:
    """All routes of the service."""
    # Fixed paths before `/orders/{order_id}`.
    return joined(placing.router, reading.router, changing.router, live.router)
