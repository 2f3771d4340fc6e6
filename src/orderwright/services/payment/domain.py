"""Payments as pure rules: what a payment may become, and what makes a card number plausible.

Invariants: an order has one payment; a payment is charged under one key for ever; its status moves only along
`TRANSITIONS`. Card numbers live in `Card` for the length of one call and are never shown by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from orderwright.kernel.errors import Invalid


class PaymentStatus(StrEnum):
    EXPECTED = "expected"
    """Something was heard of the order, but not yet what it costs."""
    PENDING = "pending"
    CHARGING = "charging"
    """A charge was decided, and is under way or about to be."""
    UNKNOWN = "unknown"
    """A charge was sent and no answer came; the provider is asked under the same key until it is known."""
    QUARANTINED = "quarantined"
    """The provider took another amount than was asked for; a person has to look."""
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNDECIDED = (PaymentStatus.CHARGING, PaymentStatus.UNKNOWN)
"""The provider owes an answer, or will."""

_OUTCOMES = frozenset({PaymentStatus.SUCCESS, PaymentStatus.FAILED, PaymentStatus.QUARANTINED})

TRANSITIONS: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    PaymentStatus.EXPECTED: frozenset({PaymentStatus.PENDING, PaymentStatus.CANCELLED}),
    PaymentStatus.PENDING: frozenset({PaymentStatus.CHARGING, PaymentStatus.CANCELLED, PaymentStatus.SUCCESS}),
    PaymentStatus.CHARGING: _OUTCOMES | {PaymentStatus.UNKNOWN, PaymentStatus.CANCELLED},
    PaymentStatus.UNKNOWN: _OUTCOMES | {PaymentStatus.CANCELLED},
    PaymentStatus.QUARANTINED: _OUTCOMES,
    PaymentStatus.SUCCESS: frozenset(),
    # What the provider took after all was taken, whatever was known before.
    PaymentStatus.FAILED: frozenset({PaymentStatus.SUCCESS, PaymentStatus.QUARANTINED}),
    PaymentStatus.CANCELLED: frozenset({PaymentStatus.SUCCESS, PaymentStatus.QUARANTINED}),
}


class Payment(msgspec.Struct, frozen=True):
    """An order's payment, with all that was heard of the order."""

    id: str
    order_id: str
    status: PaymentStatus
    created_at: datetime
    updated_at: datetime
    customer_id: str | None = None
    amount_minor: int = 0
    currency: str | None = None
    needs_stock: bool = True
    stock_reserved: bool = False
    order_cancelled: bool = False
    held_by: str | None = None
    held_until: datetime | None = None
    provider: str | None = None
    method_token: str | None = None
    brand: str | None = None
    last4: str | None = None
    captured_minor: int = 0
    promised_minor: int = 0
    """Refunds that were decided, done or not."""
    refunded_minor: int = 0
    failure_code: str | None = None
    sent_at: datetime | None = None
    """When it was last given to the provider; None while nothing can have come of it."""
    undecided_since: datetime | None = None
    alarmed_at: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    traceparent: str | None = None

    def __repr__(self) -> str:
        """Without the method's token, which belongs in no log."""
        return f"Payment({self.id!r} of order {self.order_id!r}, {self.status.value})"

    @property
    def known(self) -> bool:
        """Whether it is known what the order costs."""
        return self.status is not PaymentStatus.EXPECTED

    @property
    def sent(self) -> bool:
        """Whether the provider may have heard of the charge."""
        return self.sent_at is not None

    @property
    def payable(self) -> bool:
        """Whether it may be charged now: nothing is charged for goods that are not set aside."""
        goods_are_safe = self.stock_reserved or not self.needs_stock
        settled = goods_are_safe and self.held_by is None
        return self.status is PaymentStatus.PENDING and settled and not self.order_cancelled


@dataclass(frozen=True, slots=True)
class Method:
    """How an order is to be paid: a provider's token, and what may be shown of the card."""

    order_id: str
    customer_id: str
    token: str = field(repr=False)
    brand: str | None
    last4: str | None


class WebhookStatus(StrEnum):
    RECEIVED = "received"
    PARKED = "parked"
    """It speaks of a payment that is not known here yet; it is tried again."""
    STRANDED = "stranded"
    """The payment that it speaks of did not come; a person has to look."""
    QUARANTINED = "quarantined"
    """It speaks of another amount than ours; it has no effect, and a person has to look."""
    DONE = "done"
    IGNORED = "ignored"
    """Of a type that we have no use for."""
    DISMISSED = "dismissed"
    """A person has looked, and nothing is to be done."""


class Verdict(StrEnum):
    """What a webhook calls for."""

    WAIT = "wait"
    """Nothing is known here of what it speaks of."""
    QUARANTINE = "quarantine"
    HURRY = "hurry"
    """The provider owes an answer: ask it now."""
    LOOK = "look"
    """It contradicts what is settled here: ask the provider whether it is so."""
    NOTHING = "nothing"


def differs(said: int | str | None, known: int | str | None) -> bool:
    """Whether what was said is not what is known; nothing differs from nothing."""
    return said is not None and known is not None and said != known


def judged(
    payment: Payment | None, *, captured: bool | None, amount_minor: int | None, currency: str | None
) -> Verdict:
    """What a webhook calls for that speaks of the charge of `payment`."""
    if payment is None or not payment.known:
        return Verdict.WAIT
    if differs(amount_minor, payment.amount_minor) or differs(currency, payment.currency):
        return Verdict.QUARANTINE
    if payment.status in UNDECIDED:
        return Verdict.HURRY
    agrees = captured is None or captured is (payment.status is PaymentStatus.SUCCESS)
    return Verdict.NOTHING if agrees and payment.status is not PaymentStatus.QUARANTINED else Verdict.LOOK


@dataclass(frozen=True, slots=True)
class Card:
    """A card as it was typed in. It is handed to a provider that takes cards, and to nobody else."""

    number: str = field(repr=False)
    expiry: str = field(repr=False)
    cvv: str = field(repr=False)

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def brand(self) -> str:
        """By the issuer's number (ISO/IEC 7812)."""
        for brand, prefixes in _BRANDS.items():
            if self.number.startswith(prefixes):
                return brand
        return "unknown"


_BRANDS: Mapping[str, tuple[str, ...]] = {
    "visa": ("4",),
    "mastercard": (*(str(n) for n in range(51, 56)), *(str(n) for n in range(2221, 2721))),
    "amex": ("34", "37"),
    "discover": ("6011", "65"),
}


def checked_card(number: str, expiry: str, cvv: str, now: datetime) -> Card:
    """A plausible card. Invalid, naming the field but never its content, when a digit or the date cannot be right."""
    card = Card(number, expiry, cvv)
    if not (number.isascii() and number.isdigit() and 12 <= len(number) <= 19 and passes_luhn(number)):
        raise _wrong("card_number", "is no card number")
    month, _, year = expiry.partition("/")
    if not (len(month) == len(year) == 2 and (month + year).isdigit() and 1 <= int(month) <= 12):
        raise _wrong("expiry", "is written like 12/35")
    if (2000 + int(year), int(month)) < (now.year, now.month):
        raise _wrong("expiry", "is in the past")
    if not (cvv.isascii() and cvv.isdigit() and len(cvv) == (4 if card.brand == "amex" else 3)):
        raise _wrong("cvv", "has 3 digits, on American Express 4")
    return card


def passes_luhn(number: str) -> bool:
    """Whether the last digit fits the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for position, character in enumerate(reversed(number)):
        digit = int(character) * (1 + position % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0


def _wrong(member: str, what: str) -> Invalid:
    return Invalid(
        f"The payment method cannot be used: {member} {what}",
        problem="invalid-payment-method",
        errors=[{"loc": [member], "msg": what}],
    )
