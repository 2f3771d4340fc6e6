"""The payment service's HTTP door.

schemas   what is sent and answered     paying    POST /payments and how to pay
reading   payments of orders            refunding   money back     webhooks   hints of providers
attention   what staff look after
"""

from fastapi import APIRouter

from orderwright.kernel.web import joined
from orderwright.services.payment.api import attention, paying, reading, refunding, webhooks


def router() -> APIRouter:
    """All routes of the service."""
    return joined(paying.router, attention.router, reading.router, refunding.router, webhooks.router)
