"""POST /payments/{id}/refund: all that is left, or a part, once for each Idempotency-Key."""

from fastapi import APIRouter, Request, Response

from orderwright.kernel import money
from orderwright.kernel.auth import StaffOrService
from orderwright.kernel.unit import UnitOfWork
from orderwright.kernel.web import ExactRoute, IdempotencyKey, claim_for, once
from orderwright.services.payment.actions import refunds
from orderwright.services.payment.api.desk import Desk
from orderwright.services.payment.api.schemas import RefundBody, RefundedView, members_of, refund_view
from orderwright.services.payment.store import payments as kept

router = APIRouter(route_class=ExactRoute, tags=["payments"])


@router.post("/payments/{payment_id}/refund", summary="Give money back (staff)", response_model=RefundedView)
async def refund_payment(
    payment_id: str,
    caller: StaffOrService,
    desk: Desk,
    request: Request,
    body: RefundBody | None = None,
    key: IdempotencyKey = None,
) -> Response:
    """The refund is decided when this answers, and carried out with the provider until it succeeds."""
    payment = await desk.payment(payment_id)
    wanted = body or RefundBody()
    amount_minor = None if wanted.amount is None else money.to_minor(wanted.amount, payment.currency or "")

    def work(uow: UnitOfWork) -> RefundedView:
        refund = refunds.refund(uow, payment.id, amount_minor, reason=wanted.reason, requested_by=caller.id)
        now = kept.by_id(uow.connection, [payment.id])[payment.id]
        return RefundedView(**members_of(now), refund=refund_view(refund, now.currency or ""))

    return await once(desk.kit.units, claim_for(request, caller, key), 200, work)
