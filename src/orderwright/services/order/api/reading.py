"""What an order is and was: the order, its status, its history, its saga, and lists of orders."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from orderwright.kernel.auth import AnyCaller, ServiceOnly, Staff
from orderwright.kernel.errors import Malformed, NotFound
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.web import Cursor, ExactRoute, Limit, Page
from orderwright.services.order import store
from orderwright.services.order.api.desk import Desk, OwnOrder
from orderwright.services.order.api.schemas import (
    ContactView,
    FactView,
    OrderView,
    SagaView,
    StatusView,
    StepView,
    fact_view,
    order_view,
    status_view,
)
from orderwright.services.order.domain import OrderStatus

router = APIRouter(route_class=ExactRoute, tags=["orders"])


@router.get("/orders", summary="List orders (staff)")
async def list_orders(
    _: Staff,
    desk: Desk,
    status: OrderStatus | None = None,
    customer_id: Annotated[str | None, Query(max_length=64)] = None,
    since: AwareDatetime | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[OrderView]:
    """The newest first."""
    if cursor is not None and not is_uuid(cursor):
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    filters: dict[str, str | datetime | None] = {"status": status, "customer_id": customer_id, "since": since}
    found = await desk.kit.units.read(lambda c: store.listed(c, filters, before=cursor, limit=limit + 1))
    more = len(found) > limit
    return Page(items=[order_view(o) for o in found[:limit]], next_cursor=found[limit - 1].id if more else None)


@router.get("/orders/customer/{customer_id}", summary="A customer's orders, the newest first")
async def orders_of_customer(customer_id: str, caller: AnyCaller, desk: Desk, limit: Limit = 50) -> list[OrderView]:
    if not caller.may_act_for(customer_id):
        raise NotFound("There is no such customer")
    found = await desk.kit.units.read(lambda connection: store.of_customer(connection, customer_id, limit=limit))
    return [order_view(order) for order in found]


@router.get("/orders/{order_id}", summary="An order")
async def get_order(order: OwnOrder) -> OrderView:
    return order_view(order)


@router.get("/orders/{order_id}/status", summary="Where an order stands")
async def get_status(order: OwnOrder) -> StatusView:
    return status_view(order)


@router.get("/orders/{order_id}/events", summary="An order's history, the oldest first")
async def get_history(order: OwnOrder, desk: Desk, limit: Limit = 50, cursor: Cursor = None) -> Page[FactView]:
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    after = int(cursor or 0)
    found = await desk.kit.units.glance(lambda c: store.history(c, order.id, after=after, limit=limit + 1))
    more = len(found) > limit
    return Page(
        items=[fact_view(*row) for row in found[:limit]], next_cursor=str(found[limit - 1][0]) if more else None
    )


@router.get("/orders/{order_id}/saga", summary="The steps of an order's saga")
async def get_saga(order: OwnOrder, desk: Desk) -> SagaView:
    sagas = await desk.kit.units.glance(lambda connection: store.load_sagas(connection, [order.id]))
    state, due_at = sagas[order.id]
    steps = [
        StepView(name=s.name, status=s.status.value, undoing=s.undoing, undo_attempts=s.undo_attempts)
        for s in state.steps
    ]
    return SagaView(order_id=order.id, status=state.status.value, reason=state.reason, due_at=due_at, steps=steps)


@router.get("/contacts", summary="Whom to write to about orders (services)", tags=["services"])
async def contacts(
    _: ServiceOnly, desk: Desk, order_id: Annotated[list[str], Query(min_length=1, max_length=200)]
) -> list[ContactView]:
    """What the orders say themselves; what they leave open, identity knows."""
    ids = [wanted for wanted in order_id if is_uuid(wanted)]
    found = await desk.kit.units.glance(lambda connection: store.see(connection, ids))
    return [
        ContactView(
            order_id=order.id,
            customer_id=order.customer_id,
            **{name: (order.contact or {}).get(name) for name in ("name", "email", "phone")},
        )
        for order in found.values()
    ]
