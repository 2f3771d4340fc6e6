"""POST /webhooks/{provider}: a provider says that something became of a charge or a refund.

Invariants: what was signed is kept before it is answered; twice is the same as once; it only makes us ask.
"""

from typing import Literal

from fastapi import APIRouter, Request, Response

from orderwright.kernel.errors import NotFound
from orderwright.kernel.web import View, whole_body
from orderwright.services.payment.actions import webhooks
from orderwright.services.payment.api.desk import Desk
from orderwright.services.payment.domain import WebhookStatus

router = APIRouter(tags=["webhooks"])

_LATER = {WebhookStatus.PARKED, WebhookStatus.QUARANTINED}


class ReceivedView(View):
    received: Literal[True] = True


@router.post(
    "/webhooks/{provider}",
    summary="A provider's webhook, signed by the provider",
    responses={
        202: {"model": ReceivedView, "description": "Kept, though it does not fit what is known here (yet)"},
        401: {"description": "Not signed by this provider just now"},
        422: {"description": "Signed, but not understood"},
    },
)
async def receive_webhook(provider: str, request: Request, response: Response, desk: Desk) -> ReceivedView:
    """The same event again has no effect; one of a type that is of no use here is counted, and nothing else."""
    if provider != desk.provider.name:
        raise NotFound(f"No provider {provider} is used here")
    body = await whole_body(request)
    event = desk.provider.read_webhook(request.headers, body)
    status, new = await desk.kit.units.run(lambda uow: webhooks.take_in(uow, provider, event, body))
    desk.webhooks_counted.labels(provider, status.value if new else "repeated").inc()
    response.status_code = 202 if new and status in _LATER else 200
    return ReceivedView()
