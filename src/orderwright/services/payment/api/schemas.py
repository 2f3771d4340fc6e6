"""Bodies and views of the payment service (CONTRACT section 3)."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from orderwright.kernel import money
from orderwright.kernel.money import AmountText, PositiveAmount
from orderwright.kernel.web import Body, OpaqueId, ShortText, View
from orderwright.services.payment.domain import UNDECIDED, Payment, PaymentStatus
from orderwright.services.payment.store.refunds import Refund

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class CardBody(Body):
    """A card as it was typed in; the sandbox alone takes it."""

    type: Literal["credit_card", "debit_card", "card"]
    card_number: Annotated[str, StringConstraints(min_length=12, max_length=19)] = Field(repr=False)
    expiry: Annotated[str, StringConstraints(min_length=5, max_length=5)] = Field(repr=False)
    cvv: Annotated[str, StringConstraints(min_length=3, max_length=4)] = Field(repr=False)
    holder: ShortText | None = None


class TokenBody(Body):
    """A token that a provider gave to the client."""

    type: Literal["token"]
    token: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")] = Field(repr=False)


MethodBody = Annotated[CardBody | TokenBody, Field(discriminator="type")]


class PaymentBody(Body):
    """Pay for an order."""

    order_id: OpaqueId
    amount: PositiveAmount
    currency: Currency | None = None
    payment_method: MethodBody


class RefundBody(Body):
    """How much to give back; everything that is left when nothing is said."""

    amount: PositiveAmount | None = None
    reason: ShortText | None = None


class NamedMethodBody(Body):
    """How one order is to be paid; the method is checked for each order by itself."""

    order_id: OpaqueId
    customer_id: OpaqueId
    payment_method: dict[str, Any] = Field(repr=False)


class NamedMethodsBody(Body):
    """How orders are to be paid."""

    items: Annotated[list[NamedMethodBody], Field(min_length=1, max_length=200)]


class HoldBody(Body):
    """Who is changing the order."""

    holder: OpaqueId


class TermsBody(HoldBody):
    """What the order costs from now on."""

    amount: PositiveAmount


class CardView(View):
    brand: str | None
    last4: str | None


class RefundView(View):
    id: str
    amount: AmountText
    status: str
    reason: str | None
    created_at: datetime


class PaymentView(View):
    id: str
    order_id: str
    amount: AmountText
    currency: str
    status: str
    provider: str
    card: CardView | None
    captured_amount: AmountText
    refunded_amount: AmountText
    failure_code: str | None
    detail: str | None
    unknown_since: datetime | None = Field(
        description="The provider has not answered since then; it is asked what became of the charge"
    )
    created_at: datetime
    updated_at: datetime


class RefundedView(PaymentView):
    refund: RefundView


class MethodErrorView(View):
    loc: list[str | int]
    msg: str


class NamedMethodView(View):
    order_id: str
    ok: bool
    problem: str | None = None
    detail: str | None = None
    errors: tuple[MethodErrorView, ...] = ()


class NamedMethodsView(View):
    results: list[NamedMethodView]


FAILURES = {
    "card_declined": "The card was declined.",
    "insufficient_funds": "The card has insufficient funds.",
    "expired_card": "The card has expired.",
    "incorrect_cvc": "The card's security code is wrong.",
    "processing_error": "The card could not be processed.",
}


def members_of(payment: Payment) -> dict[str, Any]:
    """What may be shown of a payment."""
    currency = payment.currency or "USD"
    return {
        "id": payment.id,
        "order_id": payment.order_id,
        "amount": money.from_minor(payment.amount_minor, currency),
        "currency": currency,
        "status": _status(payment),
        "provider": payment.provider or "",
        "card": CardView(brand=payment.brand, last4=payment.last4) if payment.last4 else None,
        "captured_amount": money.from_minor(payment.captured_minor, currency),
        "refunded_amount": money.from_minor(payment.refunded_minor, currency),
        "failure_code": payment.failure_code,
        "detail": FAILURES.get(payment.failure_code, "The payment failed.") if payment.failure_code else None,
        "unknown_since": payment.undecided_since if payment.status is PaymentStatus.UNKNOWN else None,
        "created_at": payment.created_at,
        "updated_at": payment.updated_at,
    }


def payment_view(payment: Payment) -> PaymentView:
    """A payment as its owner sees it."""
    return PaymentView(**members_of(payment))


def refund_view(refund: Refund, currency: str) -> RefundView:
    """A refund."""
    return RefundView(
        id=refund.id,
        amount=money.from_minor(refund.amount_minor, currency),
        status=refund.status,
        reason=refund.reason,
        created_at=refund.created_at,
    )


_PENDING = frozenset({PaymentStatus.EXPECTED, PaymentStatus.PENDING, *UNDECIDED, PaymentStatus.QUARANTINED})
"""What a payer is told of all of these; staff see which it is."""


def _status(payment: Payment) -> str:
    if payment.status in _PENDING:
        return "pending"
    if payment.refunded_minor and payment.refunded_minor == payment.captured_minor:
        return "refunded"
    return "partially_refunded" if payment.refunded_minor else payment.status.value
