"""Goods set aside: staff and services decide, customers see their own."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orderwright.kernel.auth import AnyCaller, StaffOrService
from orderwright.kernel.errors import Forbidden, Invalid, NotFound
from orderwright.kernel.idempotency import Answer
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.web import OPAQUE_ID_PATTERN, ExactRoute, IdempotencyKey, Limit, claim_for, finish, json_answer
from orderwright.services.inventory.actions import reserve, settle
from orderwright.services.inventory.actions.reserve import Wish
from orderwright.services.inventory.api.desk import Desk, InventoryDesk
from orderwright.services.inventory.api.schemas import (
    ReservationBody,
    ReservationChangeBody,
    ReservationView,
    lines_of,
    reservation_view,
)
from orderwright.services.inventory.domain import Reservation, ReservationKind
from orderwright.services.inventory.store import holdings

router = APIRouter(route_class=ExactRoute, tags=["reservations"])


@router.post(
    "/reservations",
    status_code=201,
    summary="Set goods aside (staff, services)",
    response_model=ReservationView,
)
async def post_reservation(
    body: ReservationBody, caller: StaffOrService, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    minutes = desk.settings.reservation_minutes
    lasts = timedelta(minutes=minutes) if body.expires_in_s is None else timedelta(seconds=body.expires_in_s)
    kind = ReservationKind.MANUAL if body.order_id is None else ReservationKind.ORDER
    wish = Wish(lines_of(body.items), body.order_id, None, kind, lasts)
    claim = claim_for(request, caller, key)

    async def answer_for(reservation_id: str) -> Answer:
        return json_answer(201, reservation_view(await _reservation(desk, reservation_id)))

    return await finish(desk.intake, claim, await desk.intake.submit(wish, claim), answer_for)


@router.get("/reservations", summary="The reservation of an order")
async def list_reservations(
    caller: AnyCaller,
    desk: Desk,
    order_id: Annotated[str | None, Query(pattern=OPAQUE_ID_PATTERN)] = None,
    limit: Limit = 50,
) -> list[ReservationView]:
    if order_id is None:
        if not caller.privileged:
            raise Forbidden("Name an order_id; only staff and services see all reservations")
        found = await desk.units.read(lambda connection: holdings.newest(connection, limit=limit))
    else:
        found = list((await desk.units.read(lambda connection: holdings.by_order(connection, [order_id]))).values())
    return [reservation_view(r) for r in found if caller.privileged or r.owner == caller.id]


@router.get("/reservations/{reservation_id}", summary="A reservation")
async def get_reservation(reservation_id: str, caller: AnyCaller, desk: Desk) -> ReservationView:
    reservation = await _reservation(desk, reservation_id)
    if not caller.privileged and reservation.owner != caller.id:
        raise NotFound("There is no such reservation")
    return reservation_view(reservation)


@router.put("/reservations/{reservation_id}", summary="Change goods or time (staff, services)")
async def put_reservation(
    reservation_id: str, body: ReservationChangeBody, _: StaffOrService, desk: Desk
) -> ReservationView:
    if body.items is None and body.expires_in_s is None:
        raise Invalid("Send items or expires_in_s", errors=[{"loc": ["body"], "msg": "nothing to change"}])
    lines = None if body.items is None else lines_of(body.items)
    lasts = None if body.expires_in_s is None else timedelta(seconds=body.expires_in_s)
    _routable(reservation_id)
    changed = await desk.units.run(lambda uow: reserve.change(uow, reservation_id, lines, lasts))
    return reservation_view(changed)


@router.delete("/reservations/{reservation_id}", summary="Set goods free (staff, services)")
async def delete_reservation(reservation_id: str, _: StaffOrService, desk: Desk) -> ReservationView:
    """Twice is the same as once."""
    _routable(reservation_id)
    return reservation_view(await desk.units.run(lambda uow: settle.cancel(uow, reservation_id)))


async def _reservation(desk: InventoryDesk, reservation_id: str) -> Reservation:
    _routable(reservation_id)
    found = await desk.units.read(lambda connection: holdings.by_id(connection, reservation_id))
    if found is None:
        raise NotFound(f"There is no reservation {reservation_id}")
    return found


def _routable(reservation_id: str) -> None:
    if not is_uuid(reservation_id):
        raise NotFound("There is no such reservation")
