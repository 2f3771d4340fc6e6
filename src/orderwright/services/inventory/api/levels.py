"""Stock levels and availability: everyone may look, staff may state."""

import base64
import binascii
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter

from orderwright.kernel.auth import AnyCaller, Staff
from orderwright.kernel.errors import Malformed, NotFound
from orderwright.kernel.web import Cursor, ExactRoute, Limit, Page
from orderwright.services.inventory.actions import stock
from orderwright.services.inventory.api.desk import Desk, InventoryDesk
from orderwright.services.inventory.api.schemas import (
    AvailabilityBody,
    AvailabilityView,
    AvailableLineView,
    StockBody,
    StockView,
    lines_of,
    stock_view,
)
from orderwright.services.inventory.domain import totals
from orderwright.services.inventory.store import levels

router = APIRouter(route_class=ExactRoute, tags=["stock"])

_CURSOR_SAYS = "after\x1f"


@router.get("/products", summary="Stock levels of all products")
@router.get("/stock", summary="Stock levels of all products")
async def list_stock(desk: Desk, limit: Limit = 50, cursor: Cursor = None) -> Page[StockView]:
    after = None if cursor is None else _read_cursor(cursor)

    def query(connection: sa.Connection) -> tuple[list[str], dict[str, list[Any]]]:
        ids = levels.product_ids(connection, after=after, limit=limit + 1)
        return ids, levels.by_product(connection, ids[:limit])

    ids, rows = await desk.units.read(query)
    items = [stock_view(product_id, rows.get(product_id, [])) for product_id in ids[:limit]]
    return Page(items=items, next_cursor=_cursor(ids[limit - 1]) if len(ids) > limit else None)


@router.get("/products/{product_id}/stock", summary="A product's stock")
async def get_stock(product_id: str, desk: Desk) -> StockView:
    return await _stock(desk, product_id)


@router.put("/products/{product_id}/stock", summary="State or adjust a product's stock (staff)")
async def put_stock(product_id: str, body: StockBody, _: Staff, desk: Desk) -> StockView:
    await desk.units.run(
        lambda uow: stock.set_level(uow, product_id, body.warehouse_id, on_hand=body.on_hand, adjust=body.adjust)
    )
    return await _stock(desk, product_id)


@router.post("/check-availability", summary="Whether goods are there at the moment")
async def check_availability(body: AvailabilityBody, _: AnyCaller, desk: Desk) -> AvailabilityView:
    wanted = totals(lines_of(body.items))
    free = await desk.units.read(lambda connection: levels.available(connection, wanted))
    items = [
        AvailableLineView(product_id=p, requested=n, available=free.available(p), sufficient=free.available(p) >= n)
        for p, n in wanted.items()
    ]
    return AvailabilityView(available=all(item.sufficient for item in items), items=items)


async def _stock(desk: InventoryDesk, product_id: str) -> StockView:
    rows = await desk.units.read(lambda connection: levels.by_product(connection, [product_id]))
    if product_id not in rows:
        raise NotFound(f"There is no product {product_id}")
    return stock_view(product_id, rows[product_id])


def _cursor(product_id: str) -> str:
    return base64.urlsafe_b64encode(f"{_CURSOR_SAYS}{product_id}".encode()).decode()


def _read_cursor(cursor: str) -> str:
    try:
        said = base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, UnicodeError, ValueError):
        said = ""
    if not said.startswith(_CURSOR_SAYS) or "\x00" in said:
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    return said.removeprefix(_CURSOR_SAYS)
