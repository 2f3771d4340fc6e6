"""The shipping service's HTTP door."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import StringConstraints

from orderwright.kernel.auth import AnyCaller, ServiceOnly, StaffOrService
from orderwright.kernel.errors import Malformed, NotFound
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.unit import Units
from orderwright.kernel.web import Body, Cursor, ExactRoute, Limit, OpaqueId, Page, View
from orderwright.services.shipping import actions, store
from orderwright.services.shipping.domain import Shipment, ShipmentStatus

router = APIRouter(route_class=ExactRoute, tags=["shipments"])


@dataclass(frozen=True, slots=True)
class ShippingDesk:
    """The tools of the endpoints."""

    units: Units


async def _desk(request: Request) -> ShippingDesk:
    desk: ShippingDesk = request.app.state.desk
    return desk


Desk = Annotated[ShippingDesk, Depends(_desk)]


class ShipBody(Body):
    carrier: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    tracking_number: OpaqueId | None = None


class CancelBody(Body):
    order_id: OpaqueId


class ShipmentView(View):
    id: str
    order_id: str
    status: str
    carrier: str | None
    tracking_number: str | None
    shipped_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    updated_at: datetime


class CancelledView(View):
    order_id: str
    cancelled: bool


@router.get("/shipments", summary="Shipments, the newest first")
async def list_shipments(
    caller: AnyCaller,
    desk: Desk,
    order_id: Annotated[str | None, Query(max_length=64)] = None,
    status: ShipmentStatus | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ShipmentView]:
    """Customers see their own."""
    if cursor is not None and not is_uuid(cursor):
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    owner = None if caller.privileged else caller.id
    found = await desk.units.read(
        lambda connection: store.listed(
            connection, customer_id=owner, order_id=order_id, status=status, before=cursor, limit=limit + 1
        )
    )
    following = found[limit - 1].id if len(found) > limit else None
    return Page(items=[_view(shipment) for shipment in found[:limit]], next_cursor=following)


@router.get("/shipments/{shipment_id}", summary="A shipment")
async def get_shipment(shipment_id: str, caller: AnyCaller, desk: Desk) -> ShipmentView:
    _routable(shipment_id)
    shipment = await desk.units.read(lambda connection: store.by_id(connection, shipment_id))
    if shipment is None or not caller.may_act_for(shipment.customer_id or ""):
        raise NotFound("There is no such shipment")
    return _view(shipment)


@router.post("/shipments/cancel", summary="Agree to cancel an order that has not left (services)", tags=["services"])
async def agree_to_cancel(body: CancelBody, _: ServiceOnly, desk: Desk) -> CancelledView:
    await desk.units.run(lambda uow: actions.agree_to_cancel(uow, body.order_id))
    return CancelledView(order_id=body.order_id, cancelled=True)


@router.post("/shipments/{shipment_id}/ship", summary="Hand a shipment to a carrier (staff)")
async def ship(shipment_id: str, body: ShipBody, _: StaffOrService, desk: Desk) -> ShipmentView:
    """A tracking number is made up where the carrier gave none. The same again answers the same."""
    _routable(shipment_id)
    return _view(await desk.units.run(lambda uow: actions.ship(uow, shipment_id, body.carrier, body.tracking_number)))


@router.post("/shipments/{shipment_id}/deliver", summary="A shipment arrived (staff)")
async def deliver(shipment_id: str, _: StaffOrService, desk: Desk) -> ShipmentView:
    _routable(shipment_id)
    return _view(await desk.units.run(lambda uow: actions.deliver(uow, shipment_id)))


def _routable(shipment_id: str) -> None:
    if not is_uuid(shipment_id):
        raise NotFound("There is no such shipment")


def _view(shipment: Shipment) -> ShipmentView:
    return ShipmentView(
        id=shipment.id,
        order_id=shipment.order_id,
        status=shipment.status.value,
        carrier=shipment.carrier,
        tracking_number=shipment.tracking_number,
        shipped_at=shipment.shipped_at,
        delivered_at=shipment.delivered_at,
        created_at=shipment.created_at,
        updated_at=shipment.updated_at,
    )
