"""Changes to an order that stands: address, cancellation, and an operator's push."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fastapi import APIRouter

from orderwright.kernel.auth import AnyCaller, Caller, Staff
from orderwright.kernel.errors import BusinessError, Conflict, Invalid, Refused, Unavailable
from orderwright.kernel.web import ExactRoute
from orderwright.services.order import actions
from orderwright.services.order.api.desk import Desk, OrderDesk, OwnOrder
from orderwright.services.order.api.schemas import CancelBody, ChangeBody, OrderView, lines_wanted, order_view
from orderwright.services.order.domain import CancelReason, Line, Order, OrderStatus

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
    """Other goods replace all that were ordered, at the catalog's prices; they are set aside before this answers."""
    if body.shipping_address is None and body.items is None:
        raise Invalid("Send a shipping_address or items", errors=[{"loc": ["body"], "msg": "nothing to change"}])
    if body.items is not None:
        order = await change_goods(desk, order, lines_wanted(body.items))
    if body.shipping_address is not None:
        address = body.shipping_address.model_dump()
        order = await desk.kit.units.run(
            lambda uow: actions.change_address(desk.saga.book(uow, [order.id]), order.id, address)
        )
    return order_view(order)


@router.post("/orders/{order_id}/saga/push", summary="Push a stuck order on (staff)")
async def push_order(order_id: str, _: Staff, desk: Desk) -> OrderView:
    """What the order waits for is announced once more; everybody who hears it has seen it before or needs it."""
    order = await desk.order(order_id)
    return order_view(await desk.kit.units.run(lambda uow: desk.saga.push(uow, order.id)))


async def change_goods(desk: OrderDesk, order: Order, lines: Sequence[tuple[str, int, Decimal | None]]) -> Order:
    """Give an unpaid order other goods: hold its payment, change its reservation, write it down, say the new price.

    Whoever dies on the way leaves an order that cannot be paid, and is cancelled in the end; the same request again
    goes on. Conflict once it is being paid; Refused when the goods are not there, and then all is as before.
    """
    if order.status is not OrderStatus.AWAITING_PAYMENT or not order.has_goods:
        raise Conflict(f"Goods can be changed before payment only; this order is {order.status}")
    priced = await desk.kit.units.run(lambda uow: actions.price_lines(uow, order, lines))
    holder = desk.kit.ids.new()
    await _asked(desk, "payment", f"/payments/order/{order.id}/hold", {"holder": holder})
    try:
        await _set_aside(desk, order.id, priced)
        changed = await desk.kit.units.run(
            lambda uow: actions.change_lines(desk.saga.book(uow, [order.id]), order.id, order.lines, priced)
        )
    except BusinessError:
        await _set_aside(desk, order.id, order.lines)
        await _say_price(desk, order, holder)
        raise
    await _say_price(desk, changed, holder)
    return changed


async def _set_aside(desk: OrderDesk, order_id: str, lines: Sequence[Line]) -> None:
    found = await desk.kit.peers.ask("inventory", "GET", "/reservations", query=f"order_id={order_id}")
    living = [r for r in found.json() if r["status"] == "reserved"] if found.status == 200 else []
    if not living:
        raise Conflict("The order's goods are not set aside any more", problem="reservation-not-active")
    items = [{"product_id": line.product_id, "quantity": line.quantity} for line in lines]
    await _asked(desk, "inventory", f"/reservations/{living[0]['id']}", {"items": items})


async def _say_price(desk: OrderDesk, order: Order, holder: str) -> None:
    terms = {"holder": holder, "amount": format(order.total_amount, "f")}
    await _asked(desk, "payment", f"/payments/order/{order.id}/terms", terms)


async def _asked(desk: OrderDesk, service: str, path: str, body: dict[str, Any]) -> None:
    """Ask for a change that may be asked for twice; a refusal there is one here. Unavailable when it is too soon."""
    answer = await desk.kit.peers.ask(service, "PUT", path, json=body, safe=True)
    if answer.status == 404:
        raise Unavailable(f"The {service} service has not heard of the order yet", retry_after_s=1)
    if answer.status >= 400:
        problem = answer.json()
        kind = problem["type"].rpartition("/")[2]
        raise (Refused if answer.status == 400 else Conflict)(problem["detail"], problem=kind)


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
