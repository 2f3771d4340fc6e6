"""POST /payments, and how the other services say how an order is to be paid.

Invariant: a charge is begun in our books before the provider is called, and a request that is repeated finds out what
became of the first one instead of charging again.
"""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from orderwright.kernel import money
from orderwright.kernel.auth import AnyCaller, Caller, ServiceOnly
from orderwright.kernel.errors import BusinessError, Invalid, NotFound
from orderwright.kernel.idempotency import Answer
from orderwright.kernel.web import ExactRoute, IdempotencyKey, claim_for, finish, json_answer
from orderwright.services.payment.actions import orders, terms
from orderwright.services.payment.actions.charges import Begin
from orderwright.services.payment.api.desk import Desk, PaymentDesk
from orderwright.services.payment.api.schemas import (
    CardBody,
    HoldBody,
    MethodBody,
    MethodErrorView,
    NamedMethodBody,
    NamedMethodsBody,
    NamedMethodsView,
    NamedMethodView,
    PaymentBody,
    PaymentView,
    TermsBody,
    TokenBody,
    payment_view,
)
from orderwright.services.payment.domain import UNDECIDED, Method, Payment, PaymentStatus
from orderwright.services.payment.providers import Token

router = APIRouter(route_class=ExactRoute, tags=["payments"])

POLL_S = 0.2
UNFINISHED = (*UNDECIDED, PaymentStatus.QUARANTINED)

_METHOD: TypeAdapter[CardBody | TokenBody] = TypeAdapter(MethodBody)


@router.post(
    "/payments",
    status_code=201,
    summary="Pay for an order",
    response_model=PaymentView,
    responses={
        202: {"model": PaymentView, "description": "The provider has not answered; the outcome is being asked for"},
        400: {"model": PaymentView, "description": "Declined: the payment itself, with `failure_code`"},
    },
)
async def pay(
    body: PaymentBody, caller: AnyCaller, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    token = await _located(desk, body.payment_method)
    await _own_order(desk, body.order_id, caller)
    claim = claim_for(request, caller, key)
    command = Begin(body.order_id, body.amount, body.currency, token, attempt_id=desk.kit.ids.new())

    async def answer_for(begun: dict[str, str]) -> Answer:
        payment = await desk.payment(begun["payment_id"])
        if begun["attempt_id"] == command.attempt_id:
            done = await desk.cashier.charge(payment, timeout_s=desk.settings.charge_timeout_s)
            payment = done or await desk.payment(payment.id)
        return _answer(payment)

    return await finish(desk.intake, claim, await desk.intake.submit(command, claim), answer_for)


@router.post("/payment-methods", summary="Say how orders are to be paid (services)", tags=["services"])
async def name_methods(body: NamedMethodsBody, _: ServiceOnly, desk: Desk) -> NamedMethodsView:
    """Each method is checked by itself. It is named before its order is placed; a later one is used within a minute."""
    checked = [await _checked(desk, item) for item in body.items]
    methods = [method for method in checked if isinstance(method, Method)]
    if methods:
        await desk.kit.units.run(lambda uow: orders.methods_named(uow, methods))
    return NamedMethodsView(
        results=[
            NamedMethodView(order_id=result.order_id, ok=True) if isinstance(result, Method) else result
            for result in checked
        ]
    )


@router.put("/payments/order/{order_id}/hold", summary="Let nothing be charged (services)", tags=["services"])
async def hold_order(order_id: str, body: HoldBody, _: ServiceOnly, desk: Desk) -> PaymentView:
    """While an order's goods are being changed, also an order's that was placed just now."""
    await _once(desk, order_id, lambda payment: payment is not None and payment.known)
    return payment_view(await desk.kit.units.run(lambda uow: terms.hold(uow, order_id, body.holder)))


@router.put("/payments/order/{order_id}/terms", summary="Say what an order costs now (services)", tags=["services"])
async def set_terms(order_id: str, body: TermsBody, _: ServiceOnly, desk: Desk) -> PaymentView:
    """It can be paid again."""
    held = await desk.of_order(order_id)
    amount_minor = money.to_minor(body.amount, (held.currency if held else None) or desk.kit.platform.currency)
    changed = await desk.kit.units.run(lambda uow: terms.set_terms(uow, order_id, body.holder, amount_minor))
    return payment_view(changed)


async def _own_order(desk: PaymentDesk, order_id: str, caller: Caller) -> None:
    """Wait a moment for an order that was placed just now. NotFound when there is none, or it is somebody else's."""
    payment = await _once(desk, order_id, lambda payment: not _may_still_come(payment))
    if payment is None or not payment.known or not caller.may_act_for(payment.customer_id or ""):
        raise NotFound("There is no such order")


async def _once(desk: PaymentDesk, order_id: str, enough: Callable[[Payment | None], bool]) -> Payment | None:
    """What is known of an order, once that is enough, or after a moment: the news of it may be on its way."""
    deadline_s = desk.kit.clock.monotonic_s() + desk.settings.order_wait_s
    with desk.kit.feed.listen(order_id) as listener:
        payment = await desk.of_order(order_id)
        while not enough(payment):
            left_s = deadline_s - desk.kit.clock.monotonic_s()
            if left_s <= 0:
                break
            await listener.wait(min(left_s, POLL_S))
            payment = await desk.of_order(order_id)
    return payment


def _may_still_come(payment: Payment | None) -> bool:
    if payment is None or not payment.known:
        return True
    return payment.status is PaymentStatus.PENDING and not payment.payable


def _answer(payment: Payment) -> Answer:
    if payment.status in UNFINISHED:
        return json_answer(202, payment_view(payment))
    status = 400 if payment.status is PaymentStatus.FAILED else 201
    return json_answer(status, payment_view(payment))


async def _located(desk: PaymentDesk, method: CardBody | TokenBody) -> Token:
    try:
        return await desk.token_for(method)
    except Invalid as error:
        errors = [{"loc": ["body", "payment_method", *one["loc"]], "msg": one["msg"]} for one in error.errors]
        raise Invalid(error.detail, problem=error.problem_type, errors=errors) from None


async def _checked(desk: PaymentDesk, item: NamedMethodBody) -> Method | NamedMethodView:
    try:
        method = _METHOD.validate_python(item.payment_method)
        token = await desk.token_for(method)
    except ValidationError as error:
        errors = [MethodErrorView(loc=list(one["loc"]), msg=one["msg"]) for one in error.errors()]
        detail = "The payment method cannot be used"
    except BusinessError as error:
        errors = [MethodErrorView(loc=list(one["loc"]), msg=one["msg"]) for one in error.errors]
        detail = error.detail
    else:
        return Method(item.order_id, item.customer_id, token.token, token.brand, token.last4)
    return NamedMethodView(
        order_id=item.order_id, ok=False, problem="invalid-payment-method", detail=detail, errors=tuple(errors)
    )
