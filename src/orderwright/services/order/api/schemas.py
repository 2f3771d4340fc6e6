"""Bodies and views of the order service (CONTRACT section 3)."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from orderwright.kernel.money import AmountText, PositiveAmount
from orderwright.kernel.web import Body, OpaqueId, ShortText, View
from orderwright.services.order.domain import Fact, Order

MAX_QUANTITY = 100_000

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Email = Annotated[
    str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\.[^@\s\x00-\x1f\x7f]+$")
]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9 ()/.-]{3,30}$")]


class LineBody(Body):
    """One line of an order; `unit_price` is what the caller saw, and is compared with the catalog's."""

    product_id: OpaqueId
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
    unit_price: PositiveAmount | None = None


class ContactBody(Body):
    """Whom to write to about this order, when it is not the account's own address."""

    name: ShortText | None = None
    email: Email | None = None
    phone: Phone | None = None


class AddressBody(Body):
    """Where the goods go."""

    name: ShortText | None = None
    line1: ShortText
    line2: ShortText | None = None
    city: ShortText
    region: ShortText | None = None
    postal_code: ShortText | None = None
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    phone: Phone | None = None


class OrderBody(Body):
    """An order: of goods (`items`), or of an amount (`amount`, staff and services only)."""

    customer_id: OpaqueId | None = None
    items: Annotated[list[LineBody], Field(min_length=1, max_length=100)] | None = None
    id: Annotated[int, Field(ge=0, lt=2**63)] | OpaqueId | None = Field(None, description="Your own reference")
    amount: PositiveAmount | None = None
    currency: Currency | None = None
    payment_method: dict[str, Any] | None = Field(
        None,
        description="How to pay, as in POST /payments; with it the order is charged as soon as its stock is reserved",
    )
    shipping_address: AddressBody | None = None
    customer: ContactBody | None = None


class ChangeBody(Body):
    """What may change before payment."""

    shipping_address: AddressBody | None = None
    items: Annotated[list[LineBody], Field(min_length=1, max_length=100)] | None = None


class CancelBody(Body):
    """Why, in the caller's words."""

    reason: ShortText | None = None


class LineView(View):
    product_id: str
    quantity: int
    unit_price: AmountText
    total_price: AmountText


class OrderView(View):
    id: str
    customer_id: str
    status: str
    payment_status: str
    fulfillment_status: str
    total_amount: AmountText
    currency: str
    items: list[LineView]
    created_at: datetime
    updated_at: datetime
    payment_id: str | None
    cancel_reason: str | None
    client_reference: str | None
    shipping_address: dict[str, Any] | None
    carrier: str | None
    tracking_number: str | None


class StatusView(View):
    id: str
    status: str
    payment_status: str
    fulfillment_status: str
    updated_at: datetime


class FactView(View):
    version: int
    type: str
    data: dict[str, Any]
    created_at: datetime


class StepView(View):
    name: str
    status: str
    undoing: bool
    undo_attempts: int


class SagaView(View):
    order_id: str
    status: str
    reason: str | None
    due_at: datetime | None
    steps: list[StepView]


class ContactView(View):
    order_id: str
    customer_id: str
    name: str | None
    email: str | None
    phone: str | None


def order_view(order: Order) -> OrderView:
    """What the caller sees of an order."""
    return OrderView(
        id=order.id,
        customer_id=order.customer_id,
        status=order.status.value,
        payment_status=order.payment_status.value,
        fulfillment_status=order.fulfillment_status.value,
        total_amount=order.total_amount,
        currency=order.currency,
        items=[
            LineView(
                product_id=line.product_id,
                quantity=line.quantity,
                unit_price=line.unit_price,
                total_price=line.total_price,
            )
            for line in order.lines
        ],
        created_at=order.created_at,
        updated_at=order.updated_at,
        payment_id=order.payment_id,
        cancel_reason=order.cancel_reason,
        client_reference=order.client_reference,
        shipping_address=dict(order.shipping_address) if order.shipping_address else None,
        carrier=order.carrier,
        tracking_number=order.tracking_number,
    )


def status_view(order: Order) -> StatusView:
    """Only where it stands."""
    return StatusView(
        id=order.id,
        status=order.status.value,
        payment_status=order.payment_status.value,
        fulfillment_status=order.fulfillment_status.value,
        updated_at=order.updated_at,
    )


def fact_view(version: int, fact: Fact, at: datetime) -> FactView:
    """One line of an order's history, without who to write to."""
    data = {name: value for name, value in fact.data.items() if name not in {"contact", "placed_by"}}
    return FactView(version=version, type=fact.type.value, data=data, created_at=at)


def lines_wanted(lines: list[LineBody]) -> tuple[tuple[str, int, Decimal | None], ...]:
    """Lines as the saga takes them."""
    return tuple((line.product_id, line.quantity, line.unit_price) for line in lines)
