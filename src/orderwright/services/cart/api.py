"""The cart service's HTTP door.

Invariant: how somebody pays passes through here to payment; it is not kept, logged or said.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from orderwright.kernel import money
from orderwright.kernel.auth import AnyCaller
from orderwright.kernel.clock import parse_rfc3339
from orderwright.kernel.context import current_traceparent
from orderwright.kernel.errors import Conflict, Invalid, NotFound, Unavailable
from orderwright.kernel.idempotency import Claim
from orderwright.kernel.manifest import Kit
from orderwright.kernel.money import AmountText
from orderwright.kernel.unit import UnitOfWork
from orderwright.kernel.web import (
    OPAQUE_ID_PATTERN,
    Body,
    ExactRoute,
    IdempotencyKey,
    OpaqueId,
    View,
    claim_for,
    once,
)
from orderwright.services.cart import actions, store
from orderwright.services.cart.actions import NeverHeardOf
from orderwright.services.cart.domain import Cart, Said
from orderwright.services.cart.settings import CartSettings

router = APIRouter(route_class=ExactRoute, tags=["carts"])

Quantity = Annotated[int, Field(ge=1, le=10_000)]


@dataclass(frozen=True, slots=True)
class CartDesk:
    """The tools of the endpoints."""

    kit: Kit
    settings: CartSettings


async def _desk(request: Request) -> CartDesk:
    desk: CartDesk = request.app.state.desk
    return desk


Desk = Annotated[CartDesk, Depends(_desk)]


async def _own(user_id: str, caller: AnyCaller) -> str:
    if not caller.may_act_for(user_id) or not re.fullmatch(OPAQUE_ID_PATTERN, user_id):
        raise NotFound("There is no such cart")
    return user_id


Owner = Annotated[str, Depends(_own)]
"""The user in the path, if their cart is the caller's to touch."""


class ItemBody(Body):
    product_id: OpaqueId
    quantity: Quantity


class QuantityBody(Body):
    quantity: Quantity


class CheckoutBody(Body):
    payment_method: dict[str, Any] | None = Field(None, repr=False, description="How to pay, as in POST /payments")


class CartLineView(View):
    product_id: str
    name: str | None
    quantity: int
    unit_price: AmountText
    total_price: AmountText
    currency: str


class CartView(View):
    user_id: str
    cart_id: str | None
    items: list[CartLineView]
    total_amount: AmountText
    currency: str
    updated_at: datetime


class CheckoutView(View):
    order_id: str
    cart_id: str
    status: str


@router.get("/carts/{user_id}", summary="Somebody's cart")
async def get_cart(user_id: Owner, desk: Desk) -> CartView:
    now = desk.kit.clock.now()
    cart = await desk.kit.units.read(lambda connection: store.open_cart(connection, user_id))
    return _view(cart or Cart("", user_id, now, ()), desk.kit.platform.currency)


@router.post("/carts/{user_id}/items", status_code=201, summary="Put items into the cart", response_model=CartView)
async def add_item(
    user_id: Owner, body: ItemBody, caller: AnyCaller, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    claim = claim_for(request, caller, key)

    def work(uow: UnitOfWork) -> CartView:
        cart = actions.add_item(uow, user_id, body.product_id, body.quantity, desk.settings)
        return _view(cart, desk.kit.platform.currency)

    try:
        return await once(desk.kit.units, claim, 201, work, traces=_traces(user_id))
    except NeverHeardOf:
        # Perhaps the product was made a moment ago, and its event is still on the way.
        if not await _learn(desk, body.product_id):
            raise
    return await once(desk.kit.units, claim, 201, work, traces=_traces(user_id))


@router.put("/carts/{user_id}/items/{product_id}", summary="Have so many of a product in the cart")
async def set_item(user_id: Owner, product_id: str, body: QuantityBody, desk: Desk) -> CartView:
    cart = await desk.kit.units.run(
        lambda uow: actions.set_item(uow, user_id, product_id, body.quantity, desk.settings), traces=_traces(user_id)
    )
    return _view(cart, desk.kit.platform.currency)


@router.delete("/carts/{user_id}/items/{product_id}", summary="Take a product out of the cart")
async def remove_item(user_id: Owner, product_id: str, desk: Desk) -> CartView:
    cart = await desk.kit.units.run(lambda uow: actions.remove_item(uow, user_id, product_id))
    return _view(cart, desk.kit.platform.currency)


@router.post(
    "/carts/{user_id}/checkout", status_code=202, summary="Order what is in the cart", response_model=CheckoutView
)
async def check_out(
    user_id: Owner,
    caller: AnyCaller,
    desk: Desk,
    request: Request,
    body: CheckoutBody | None = None,
    key: IdempotencyKey = None,
) -> Response:
    """The order has the cart's id. With a payment method it is charged as soon as its stock is reserved."""
    claim, trace, expected = claim_for(request, caller, key), current_traceparent(), None
    if body is not None and body.payment_method is not None and not await _is_repetition(desk, claim):
        expected = await _name_method(desk, user_id, body.payment_method)

    def work(uow: UnitOfWork) -> CheckoutView:
        cart = actions.check_out(uow, user_id, desk.kit.platform.currency, expected=expected, trace=trace)
        return CheckoutView(order_id=cart.id, cart_id=cart.id, status="pending")

    return await once(desk.kit.units, claim, 202, work)


async def _is_repetition(desk: CartDesk, claim: Claim | None) -> bool:
    """Whether the answer is known already. Then the cart that is open now is another one, and this does not pay it."""
    return claim is not None and await desk.kit.units.read(lambda connection: store.is_answered(connection, claim))


async def _name_method(desk: CartDesk, user_id: str, method: dict[str, Any]) -> str:
    """Tell payment how the coming order is to be paid; answers the cart that this was said of. Conflict without one."""
    cart = await desk.kit.units.read(lambda connection: store.open_cart(connection, user_id))
    if cart is None or not cart.lines:
        raise Conflict("There is nothing in the cart", problem="empty-cart")
    items = [{"order_id": cart.id, "customer_id": user_id, "payment_method": method}]
    answer = await desk.kit.peers.ask("payment", "POST", "/payment-methods", json={"items": items}, safe=True)
    if answer.status != 200:
        raise Unavailable("Payment cannot take the payment method at the moment")
    [result] = answer.json()["results"]
    if not result["ok"]:
        errors = [{"loc": ["body", "payment_method", *one["loc"]], "msg": one["msg"]} for one in result["errors"]]
        raise Invalid(result["detail"], problem=result["problem"], errors=errors)
    return cart.id


async def _learn(desk: CartDesk, product_id: str) -> bool:
    """Ask the catalog for a product that was not heard of yet; answers whether there is one. Unavailable."""
    answer = await desk.kit.peers.ask("catalog", "GET", f"/products/{quote(product_id)}", anonymous=True)
    if answer.status == 404:
        return False
    if answer.status != 200:
        raise Unavailable("The catalog cannot say at the moment what is for sale")
    product = answer.json()
    # Timed as the event of the same change is: a change on its way is then newer than this, whenever it comes.
    at, currency = parse_rfc3339(product["updated_at"]), product["currency"]
    said = Said(product_id, at, money.exact(money.parse(product["price"]), currency), currency, product["name"])
    await desk.kit.units.run(lambda uow: actions.hear_catalog(uow, [said]))
    return True


def _traces(user_id: str) -> dict[str, str]:
    trace = current_traceparent()
    return {} if trace is None else {user_id: trace}


def _view(cart: Cart, default_currency: str) -> CartView:
    return CartView(
        user_id=cart.user_id,
        cart_id=cart.id or None,
        items=[
            CartLineView(
                product_id=line.product_id,
                name=line.name,
                quantity=line.quantity,
                unit_price=line.unit_price,
                total_price=line.total_price,
                currency=line.currency,
            )
            for line in cart.lines
        ],
        total_amount=cart.total_amount,
        currency=cart.currency or default_currency,
        updated_at=cart.updated_at,
    )
