"""Warehouses: where goods lie, and in which order they are used."""

from fastapi import APIRouter, Request, Response

from orderwright.kernel.auth import Staff, StaffOrService
from orderwright.kernel.errors import Invalid
from orderwright.kernel.unit import UnitOfWork
from orderwright.kernel.web import ExactRoute, IdempotencyKey, claim_for, once
from orderwright.services.inventory.actions import stock
from orderwright.services.inventory.api.desk import Desk
from orderwright.services.inventory.api.schemas import (
    WarehouseBody,
    WarehouseChangeBody,
    WarehouseView,
    warehouse_view,
)
from orderwright.services.inventory.store import warehouses

router = APIRouter(route_class=ExactRoute, tags=["warehouses"])


@router.get("/warehouses", summary="Warehouses in order of use")
async def list_warehouses(_: StaffOrService, desk: Desk) -> list[WarehouseView]:
    return [warehouse_view(row) for row in await desk.units.read(warehouses.listed)]


@router.post(
    "/warehouses",
    status_code=201,
    summary="Open a warehouse (staff)",
    response_model=WarehouseView,
)
async def post_warehouse(
    body: WarehouseBody, caller: Staff, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    view = WarehouseView(id=body.id, name=body.name, priority=body.priority, active=True)

    def work(uow: UnitOfWork) -> WarehouseView:
        stock.open_warehouse(uow, body.id, body.name, body.priority)
        return view

    return await once(desk.units, claim_for(request, caller, key), 201, work)


@router.put("/warehouses/{warehouse_id}", summary="Rename, reorder, open or close a warehouse (staff)")
async def put_warehouse(warehouse_id: str, body: WarehouseChangeBody, _: Staff, desk: Desk) -> WarehouseView:
    changes = body.model_dump(exclude_none=True)
    if not changes:
        raise Invalid("Send name, priority or active", errors=[{"loc": ["body"], "msg": "nothing to change"}])
    return warehouse_view(await desk.units.run(lambda uow: stock.change_warehouse(uow, warehouse_id, changes)))
