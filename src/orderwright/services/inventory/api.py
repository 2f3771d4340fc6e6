"""The inventory's HTTP door: levels, availability, reservations, warehouses."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, model_validator

from orderwright.kernel.auth import AnyCaller, Staff, StaffOrService
from orderwright.kernel.batching import Intake
from orderwright.kernel.errors import Forbidden, Invalid, NotFound
from orderwright.kernel.idempotency import Answer
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.unit import Units
from orderwright.kernel.web import (
    Body,
    Cursor,
    ExactRoute,
    IdempotencyKey,
    Limit,
    OpaqueId,
    Page,
    ShortText,
    View,
    claim_for,
    finish,
    json_answer,
    once,
)
from orderwright.services.inventory import store
from orderwright.services.inventory.actions import reserve, settle, stock
from orderwright.services.inventory.actions.reserve import Wish
from orderwright.services.inventory.domain import DEFAULT_WAREHOUSE, Reservation, ReservationKind, totals
from orderwright.services.inventory.settings import InventorySettings

router = APIRouter(route_class=ExactRoute)

MAX_STOCK = 1_000_000_000
Quantity = Annotated[int, Field(ge=1, le=100_000)]
LastsS = Annotated[int, Field(ge=1, le=30 * 86_400, description="Seconds from now")]


@dataclass(frozen=True, slots=True)
class InventoryDesk:
    """The tools of the endpoints."""

    units: Units
    settings: InventorySettings
    intake: Intake[Wish, str]


async def _desk(request: Request) -> InventoryDesk:
    desk: InventoryDesk = request.app.state.desk
    return desk


Desk = Annotated[InventoryDesk, Depends(_desk)]


class LineBody(Body):
    product_id: OpaqueId
    quantity: Quantity


Lines = Annotated[list[LineBody], Field(min_length=1, max_length=100)]


class AvailabilityBody(Body):
    items: Lines


class ReservationBody(Body):
    items: Lines
    order_id: OpaqueId | None = None
    expires_in_s: LastsS | None = None


class ReservationChangeBody(Body):
    items: Lines | None = None
    expires_in_s: LastsS | None = None


class StockBody(Body):
    """Either the level as it was counted, or a change of it."""

    on_hand: Annotated[int, Field(ge=0, le=MAX_STOCK)] | None = None
    adjust: Annotated[int, Field(ge=-MAX_STOCK, le=MAX_STOCK)] | None = None
    warehouse_id: OpaqueId = DEFAULT_WAREHOUSE

    @model_validator(mode="after")
    def _one_of_both(self) -> "StockBody":
        if (self.on_hand is None) == (self.adjust is None):
            raise ValueError("send either on_hand or adjust")
        return self


class WarehouseBody(Body):
    id: OpaqueId
    name: ShortText
    priority: Annotated[int, Field(ge=0, le=1000)] = 100


class WarehouseChangeBody(Body):
    name: ShortText | None = None
    priority: Annotated[int, Field(ge=0, le=1000)] | None = None
    active: bool | None = None


class WarehouseView(View):
    id: str
    name: str
    priority: int
    active: bool


class WarehouseLevelView(View):
    warehouse_id: str
    on_hand: int
    reserved: int
    available: int


class StockView(View):
    product_id: str
    on_hand: int
    reserved: int
    available: int
    warehouses: list[WarehouseLevelView]


class AvailableLineView(View):
    product_id: str
    requested: int
    available: int
    sufficient: bool


class AvailabilityView(View):
    available: bool
    items: list[AvailableLineView]


class ReservationLineView(View):
    product_id: str
    quantity: int
    warehouse_id: str


class ReservationView(View):
    id: str
    order_id: str | None
    status: str
    items: list[ReservationLineView]
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


@router.get("/products", summary="Stock levels of all products", tags=["stock"])
@router.get("/stock", summary="Stock levels of all products", tags=["stock"])
async def list_stock(desk: Desk, limit: Limit = 50, cursor: Cursor = None) -> Page[StockView]:
    def query(connection: sa.Connection) -> tuple[list[str], dict[str, list[Any]]]:
        ids = store.product_ids(connection, after=cursor, limit=limit + 1)
        return ids, store.rows_of(connection, ids[:limit])

    ids, rows = await desk.units.read(query)
    items = [_stock_view(product_id, rows.get(product_id, [])) for product_id in ids[:limit]]
    return Page(items=items, next_cursor=ids[limit - 1] if len(ids) > limit else None)


@router.get("/products/{product_id}/stock", summary="A product's stock", tags=["stock"])
async def get_stock(product_id: str, desk: Desk) -> StockView:
    return await _stock(desk, product_id)


@router.put("/products/{product_id}/stock", summary="State or adjust a product's stock (staff)", tags=["stock"])
async def put_stock(product_id: str, body: StockBody, _: Staff, desk: Desk) -> StockView:
    await desk.units.run(
        lambda uow: stock.set_level(uow, product_id, body.warehouse_id, on_hand=body.on_hand, adjust=body.adjust)
    )
    return await _stock(desk, product_id)


@router.post("/check-availability", summary="Whether goods are there at the moment", tags=["stock"])
async def check_availability(body: AvailabilityBody, _: AnyCaller, desk: Desk) -> AvailabilityView:
    wanted = totals((line.product_id, line.quantity) for line in body.items)
    levels = await desk.units.read(lambda connection: store.levels(connection, wanted))
    items = [
        AvailableLineView(product_id=p, requested=n, available=levels.available(p), sufficient=levels.available(p) >= n)
        for p, n in wanted.items()
    ]
    return AvailabilityView(available=all(item.sufficient for item in items), items=items)


@router.post(
    "/reservations",
    status_code=201,
    summary="Set goods aside (staff, services)",
    response_model=ReservationView,
    tags=["reservations"],
)
async def post_reservation(
    body: ReservationBody, caller: StaffOrService, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    minutes = desk.settings.reservation_minutes
    lasts = timedelta(minutes=minutes) if body.expires_in_s is None else timedelta(seconds=body.expires_in_s)
    kind = ReservationKind.MANUAL if body.order_id is None else ReservationKind.ORDER
    wish = Wish(_lines(body.items), body.order_id, None, kind, lasts)
    claim = claim_for(request, caller, key)

    async def answer_for(reservation_id: str) -> Answer:
        return json_answer(201, _reservation_view(await _reservation(desk, reservation_id)))

    return await finish(desk.units, claim, await desk.intake.submit(wish, claim), answer_for)


@router.get("/reservations", summary="The reservation of an order", tags=["reservations"])
async def list_reservations(
    caller: AnyCaller,
    desk: Desk,
    order_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 50,
) -> list[ReservationView]:
    if order_id is None:
        if not caller.privileged:
            raise Forbidden("Name an order_id; only staff and services see all reservations")
        found = await desk.units.read(lambda connection: store.newest(connection, limit=limit))
    else:
        found = list((await desk.units.read(lambda connection: store.by_order(connection, [order_id]))).values())
    return [_reservation_view(r) for r in found if caller.privileged or r.owner == caller.id]


@router.get("/reservations/{reservation_id}", summary="A reservation", tags=["reservations"])
async def get_reservation(reservation_id: str, caller: AnyCaller, desk: Desk) -> ReservationView:
    reservation = await _reservation(desk, reservation_id)
    if not caller.privileged and reservation.owner != caller.id:
        raise NotFound("There is no such reservation")
    return _reservation_view(reservation)


@router.put("/reservations/{reservation_id}", summary="Change goods or time (staff, services)", tags=["reservations"])
async def put_reservation(
    reservation_id: str, body: ReservationChangeBody, _: StaffOrService, desk: Desk
) -> ReservationView:
    if body.items is None and body.expires_in_s is None:
        raise Invalid("Send items or expires_in_s", errors=[{"loc": ["body"], "msg": "nothing to change"}])
    lines = None if body.items is None else _lines(body.items)
    lasts = None if body.expires_in_s is None else timedelta(seconds=body.expires_in_s)
    _routable(reservation_id)
    changed = await desk.units.run(lambda uow: reserve.change(uow, reservation_id, lines, lasts))
    return _reservation_view(changed)


@router.delete("/reservations/{reservation_id}", summary="Set goods free (staff, services)", tags=["reservations"])
async def delete_reservation(reservation_id: str, _: StaffOrService, desk: Desk) -> ReservationView:
    """Twice is the same as once."""
    _routable(reservation_id)
    return _reservation_view(await desk.units.run(lambda uow: settle.cancel(uow, reservation_id)))


@router.get("/warehouses", summary="Warehouses in order of use", tags=["warehouses"])
async def list_warehouses(_: StaffOrService, desk: Desk) -> list[WarehouseView]:
    return [_warehouse_view(row) for row in await desk.units.read(store.all_warehouses)]


@router.post(
    "/warehouses",
    status_code=201,
    summary="Open a warehouse (staff)",
    response_model=WarehouseView,
    tags=["warehouses"],
)
async def post_warehouse(
    body: WarehouseBody, caller: Staff, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    view = WarehouseView(id=body.id, name=body.name, priority=body.priority, active=True)

    def work(uow: Any) -> WarehouseView:
        stock.open_warehouse(uow, body.id, body.name, body.priority)
        return view

    return await once(desk.units, claim_for(request, caller, key), 201, work)


@router.put(
    "/warehouses/{warehouse_id}", summary="Rename, reorder, open or close a warehouse (staff)", tags=["warehouses"]
)
async def put_warehouse(warehouse_id: str, body: WarehouseChangeBody, _: Staff, desk: Desk) -> WarehouseView:
    changes = body.model_dump(exclude_none=True)
    if not changes:
        raise Invalid("Send name, priority or active", errors=[{"loc": ["body"], "msg": "nothing to change"}])
    return _warehouse_view(await desk.units.run(lambda uow: stock.change_warehouse(uow, warehouse_id, changes)))


async def _stock(desk: InventoryDesk, product_id: str) -> StockView:
    rows = await desk.units.read(lambda connection: store.rows_of(connection, [product_id]))
    if product_id not in rows:
        raise NotFound(f"There is no product {product_id}")
    return _stock_view(product_id, rows[product_id])


async def _reservation(desk: InventoryDesk, reservation_id: str) -> Reservation:
    _routable(reservation_id)
    found = await desk.units.read(lambda connection: store.by_id(connection, reservation_id))
    if found is None:
        raise NotFound(f"There is no reservation {reservation_id}")
    return found


def _routable(reservation_id: str) -> None:
    if not is_uuid(reservation_id):
        raise NotFound("There is no such reservation")


def _lines(items: list[LineBody]) -> list[tuple[str, int]]:
    return [(line.product_id, line.quantity) for line in items]


def _stock_view(product_id: str, rows: list[Any]) -> StockView:
    warehouses = [
        WarehouseLevelView(
            warehouse_id=row.warehouse_id,
            on_hand=row.on_hand,
            reserved=row.reserved,
            available=row.on_hand - row.reserved,
        )
        for row in rows
    ]
    return StockView(
        product_id=product_id,
        on_hand=sum(level.on_hand for level in warehouses),
        reserved=sum(level.reserved for level in warehouses),
        available=sum(level.available for level in warehouses),
        warehouses=warehouses,
    )


def _reservation_view(reservation: Reservation) -> ReservationView:
    return ReservationView(
        id=reservation.id,
        order_id=reservation.order_id,
        status=reservation.status.value,
        items=[
            ReservationLineView(product_id=t.product_id, quantity=t.quantity, warehouse_id=t.warehouse_id)
            for t in reservation.takes
        ],
        expires_at=reservation.expires_at,
        created_at=reservation.created_at,
        updated_at=reservation.updated_at,
    )


def _warehouse_view(row: Any) -> WarehouseView:
    return WarehouseView(id=row.id, name=row.name, priority=row.priority, active=row.active)
