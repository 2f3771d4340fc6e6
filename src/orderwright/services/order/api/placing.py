"""POST /orders: accept an order, then wait a moment for its stock.

Invariant: what was answered 201 or 202 is committed; what was refused before that has changed nothing. An order whose
stock is refused stays in the books as cancelled and is answered 400.
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Request, Response

from orderwright.kernel import money
from orderwright.kernel.auth import AnyCaller, Caller
from orderwright.kernel.batching import Done
from orderwright.kernel.context import current_traceparent
from orderwright.kernel.errors import Forbidden, Invalid, Refused
from orderwright.kernel.feed import Listener
from orderwright.kernel.idempotency import Answer, Claim
from orderwright.kernel.web import ExactRoute, IdempotencyKey, claim_for, finish, respond
from orderwright.services.order import actions
from orderwright.services.order.actions import NewOrder
from orderwright.services.order.api.awaited import answer_of
from orderwright.services.order.api.desk import Desk, OrderDesk, PaymentWish
from orderwright.services.order.api.schemas import OrderBody, OrderView, lines_wanted
from orderwright.services.order.domain import OrderStatus

router = APIRouter(route_class=ExactRoute, tags=["orders"])

POLL_S = 0.25
"""How often the database is looked at while an answer waits: another process may have heard the news."""


@router.post(
    "/orders",
    status_code=201,
    summary="Place an order",
    response_model=OrderView,
    responses={202: {"model": OrderView, "description": "Accepted; its stock is not reserved yet"}},
)
async def place_order(
    body: OrderBody,
    caller: AnyCaller,
    desk: Desk,
    request: Request,
    key: IdempotencyKey = None,
    prefer: Annotated[str | None, Header(description="`respond-async` answers 202 at once (RFC 7240)")] = None,
) -> Response:
    """The answer waits for the reservation; without one in time the order is kept all the same."""
    began_s = desk.kit.clock.monotonic_s()
    order = _wanted(body, caller, desk)
    claim = claim_for(request, caller, key)
    if body.payment_method is not None:
        await desk.wishes.submit(PaymentWish(order.id, order.customer_id, body.payment_method))
    wait_s = 0.0 if prefer is not None and "respond-async" in prefer.lower() else desk.settings.answer_wait_s
    with desk.kit.feed.listen(order.id) as listener:
        with desk.awaited.open(order.id, claim):
            outcome = await _submit(desk, order, claim)
            # That it was placed is no news.
            listener.forget()
            if isinstance(outcome, Done) and order.lines:
                await _decided(desk, outcome.result, listener, began_s + wait_s)
        if isinstance(listener.news, Answer):
            # It is stored already.
            return respond(listener.news)

    async def answer_for(order_id: str) -> Answer:
        return answer_of(await desk.order(order_id))

    return await finish(desk.intake, claim, outcome, answer_for)


async def _decided(desk: OrderDesk, order_id: str, listener: Listener, deadline_s: float) -> None:
    """Wait until the order is not pending any more, or the time is over."""
    while (left_s := deadline_s - desk.kit.clock.monotonic_s()) > 0:
        await listener.wait(min(left_s, POLL_S))
        if listener.news is not None or (await desk.order(order_id)).status is not OrderStatus.PENDING:
            return


def _wanted(body: OrderBody, caller: Caller, desk: OrderDesk) -> NewOrder:
    customer_id = body.customer_id or caller.id
    if not caller.may_act_for(customer_id):
        raise Forbidden("You can order for yourself only: leave customer_id out, or send your own id")
    if (body.items is None) == (body.amount is None):
        raise Invalid(
            "Send either items, or an amount without items",
            errors=[{"loc": ["body", "items"], "msg": "items or amount"}],
        )
    if body.amount is not None and not caller.privileged:
        raise Forbidden("Only staff and services may order an amount: the price of goods is the catalog's")
    if body.currency is not None:
        money.exponent(body.currency)
    return NewOrder(
        id=desk.kit.ids.new(),
        customer_id=customer_id,
        placed_by=caller.id,
        lines=lines_wanted(body.items or []),
        amount=body.amount,
        currency=body.currency,
        client_reference=None if body.id is None else str(body.id),
        shipping_address=body.shipping_address.model_dump() if body.shipping_address else None,
        contact=body.customer.model_dump() if body.customer else None,
        traceparent=current_traceparent(),
    )


async def _submit(desk: OrderDesk, order: NewOrder, claim: Claim | None) -> Done[str] | Answer:
    try:
        return await desk.intake.submit(order, claim)
    except Refused as refusal:
        if refusal.problem_type != "unknown-product" or not await _learn(desk, str(refusal.extra["product_id"])):
            raise
    # A product that was made a moment ago: the catalog knows it, and now so do we. Once is enough per product.
    for _ in order.lines:
        try:
            return await desk.intake.submit(order, claim)
        except Refused as refusal:
            if refusal.problem_type != "unknown-product" or not await _learn(desk, str(refusal.extra["product_id"])):
                raise
    return await desk.intake.submit(order, claim)


async def _learn(desk: OrderDesk, product_id: str) -> bool:
    """Ask the catalog for a price that has not arrived yet; answers whether there is such a product."""
    answer = await desk.kit.peers.ask("catalog", "GET", f"/products/{quote(product_id)}", anonymous=True)
    if answer.status != 200:
        return False
    product = answer.json()
    said = [(product_id, desk.kit.clock.now(), money.parse(product["price"]), str(product["currency"]))]
    await desk.kit.units.run(lambda uow: actions.learn_prices(uow, said, desk.saga.currency))
    return True
