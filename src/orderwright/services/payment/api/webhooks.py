"""POST /webhooks/{provider}: a provider says that something became of a charge.

Invariants: a webhook is a hint, so it only makes us ask; it is kept before it is answered; twice is the same as once.
"""

from fastapi import APIRouter, Request, Response

from orderwright.kernel.errors import NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.kernel.web import View, whole_body
from orderwright.services.payment import store
from orderwright.services.payment.api.desk import Desk
from orderwright.services.payment.providers import WebhookEvent

router = APIRouter(tags=["webhooks"])


class ReceivedView(View):
    received: bool


@router.post(
    "/webhooks/{provider}",
    summary="A provider's webhook, signed by the provider",
    responses={
        202: {"model": ReceivedView, "description": "Kept, though no payment of that key is known"},
        401: {"description": "Not signed by this provider just now"},
        422: {"description": "Signed, but not understood"},
    },
)
async def receive_webhook(provider: str, request: Request, response: Response, desk: Desk) -> ReceivedView:
    if provider != desk.provider.name:
        raise NotFound(f"No provider {provider} is used here")
    event = desk.provider.read_webhook(request.headers, await whole_body(request))
    known = await desk.kit.units.run(lambda uow: _take_up(uow, provider, event))
    response.status_code = 200 if known else 202
    return ReceivedView(received=True)


def _take_up(uow: UnitOfWork, provider: str, event: WebhookEvent) -> bool:
    known = event.charge_key in store.by_id(uow.connection, [event.charge_key])
    first = store.note_webhook(uow.connection, provider, event.id, event.charge_key, uow.now, known=known)
    if known and first and store.try_again_at(uow.connection, event.charge_key, uow.now):
        uow.wake("charge")
    return known
