"""Payments as their owners and staff see them."""

from fastapi import APIRouter

from orderwright.kernel.auth import AnyCaller
from orderwright.kernel.errors import NotFound
from orderwright.kernel.web import ExactRoute
from orderwright.services.payment.api.desk import Desk
from orderwright.services.payment.api.schemas import PaymentView, RefundView, payment_view, refund_view
from orderwright.services.payment.store import refunds as ledger

router = APIRouter(route_class=ExactRoute, tags=["payments"])


@router.get("/payments/order/{order_id}", summary="An order's payments")
async def payments_of_order(order_id: str, caller: AnyCaller, desk: Desk) -> list[PaymentView]:
    payment = await desk.of_order(order_id)
    if payment is None or not payment.known or not caller.may_act_for(payment.customer_id or ""):
        raise NotFound("There is no such order")
    return [payment_view(payment)]


@router.get("/payments/{payment_id}", summary="A payment")
async def get_payment(payment_id: str, caller: AnyCaller, desk: Desk) -> PaymentView:
    return payment_view(await desk.own_payment(payment_id, caller))


@router.get("/payments/{payment_id}/refunds", summary="What was given back of a payment")
async def refunds_of_payment(payment_id: str, caller: AnyCaller, desk: Desk) -> list[RefundView]:
    payment = await desk.own_payment(payment_id, caller)
    found = await desk.kit.units.read(lambda connection: ledger.of_payment(connection, payment.id))
    return [refund_view(refund, payment.currency or "") for refund in found]
