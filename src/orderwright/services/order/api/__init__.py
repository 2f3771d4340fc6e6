"""The order service's HTTP door.

schemas   what is sent and answered        placing   POST /orders        reading   what an order is and was
changing  address, items, cancel, push     live      the stream          desk      what the endpoints work with
"""

from fastapi import APIRouter

from orderwright.services.order.api import changing, live, placing, reading


def router() -> APIRouter:
    """All routes of the service."""
    whole = APIRouter()
    # Fixed paths before `/orders/{order_id}`.
    for part in (placing.router, reading.router, changing.router, live.router):
        whole.include_router(part)
    return whole
