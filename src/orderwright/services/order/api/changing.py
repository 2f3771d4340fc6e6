"""Changes to an order that stands: address, cancellation, and an operator's push."""

from fastapi import APIRouter

from orderwright.kernel.auth import AnyCaller, Caller, Staff
from orderwright.kernel.errors import Conflict, Invalid, Unavailable
from orderwright.kernel.web import ExactRoute
from orderwright.services.order import actions
from orderwright.services.order.api.desk import Desk, OrderDesk, OwnOrder
from orderwright.services.order.api.schemas import CancelBody, ChangeBody, OrderView, order_view
from orderwright.services.order.domain import CancelReason, Order

router = APIRouter(route_class=ExactRoute, tags=["orders"])


@router.delete("/orders/{order_id}", summary="Cancel an order")
async def delete_order(order: OwnOrder, caller: AnyCaller, desk: Desk) -> OrderView:
    """The same as `PUT /orders/{id}/cancel`."""
    return order_view(await _cancel(desk, order, caller, None))


@router.put("/orders/{order_id}/cancel", summary="Cancel an order")
async def cancel_order(order: OwnOrder, caller: AnyCaller, desk: Desk, body: CancelBody | None = None) -> OrderView:
    """What was paid is refunded and its stock comes back. Cancelling twice answers the same; a shipped order is 409."""
    return order_view(await _cancel(desk, order, caller, body.reason if body else None))


@router.put("/orders/{order_id}", summary="Change an order before it is paid")
async def change_order(order: OwnOrder, body: ChangeBody, desk: Desk) -> OrderView:
    if body.shipping_address is None:
        raise Invalid("Send a shipping_address", errors=[{"loc": ["body"], "msg": "nothing to change"}])
    address = body.shipping_address.model_dump()
    return order_view(await desk.kit.units.run(lambda uow: actions.change_address(uow, order.id, address)))


@router.post("/orders/{order_id}/saga/push", summary="Push a stuck order on (staff)")
async def push_order(order_id: str, _: Staff, desk: Desk) -> OrderView:
    """What the order waits for is announced once more; everybody who hears it has seen it before or needs it."""
    order = await desk.order(order_id)
    return order_view(await desk.kit.units.run(lambda uow: desk.saga.push(uow, order.id)))


async def _cancel(desk: OrderDesk, order: Order, caller: Caller, detail: str | None) -> Order:
    reason = CancelReason.CUSTOMER_REQUEST if caller.id == order.customer_id else CancelReason.STAFF_REQUEST
    asked = await desk.kit.units.run(lambda uow: desk.saga.cancel(uow, order.id, reason, detail))
    if asked.cancelled:
        return asked
    return await decide_cancellation(desk, asked.id)


async def decide_cancellation(desk: OrderDesk, order_id: str) -> Order:
    """Ask shipping to let go of a completed order, and cancel it if shipping does.

    The wish is already in the order's history, so a crash on the way is taken up again by a job. Conflict when the
    order has shipped; Unavailable when shipping does not answer, and then the wish stands.
    """
    answer = await desk.kit.peers.ask("shipping", "POST", "/shipments/cancel", json={"order_id": order_id}, safe=True)
    if answer.status not in {200, 409}:
        raise Unavailable("Shipping cannot say whether the order has left; the cancellation stands and is asked again")
    agreed = answer.status == 200
    decided = await desk.kit.units.run(lambda uow: desk.saga.decide_cancellation(uow, order_id, agreed=agreed))
    if not agreed:
        raise Conflict(f"Order {order_id} has shipped and cannot be cancelled", problem="invalid-state-transition")
    return decided
