"""What is sent to the inventory, and what it answers."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from orderwright.kernel.web import Body, OpaqueId, ShortText, View
from orderwright.services.inventory.domain import DEFAULT_WAREHOUSE, Reservation

MAX_STOCK = 1_000_000_000
Quantity = Annotated[int, Field(ge=1, le=100_000)]
LastsS = Annotated[int, Field(ge=1, le=30 * 86_400, description="Seconds from now")]


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
    """What lies in one warehouse. Of a closed one nothing is available, whatever lies there."""

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


def lines_of(items: list[LineBody]) -> list[tuple[str, int]]:
    return [(line.product_id, line.quantity) for line in items]


def stock_view(product_id: str, rows: list[Any]) -> StockView:
    warehouses = [
        WarehouseLevelView(
            warehouse_id=row.warehouse_id,
            on_hand=row.on_hand,
            reserved=row.reserved,
            available=row.on_hand - row.reserved if row.active else 0,
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


def reservation_view(reservation: Reservation) -> ReservationView:
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


def warehouse_view(row: Any) -> WarehouseView:
    return WarehouseView(id=row.id, name=row.name, priority=row.priority, active=row.active)
