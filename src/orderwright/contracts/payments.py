"""What payments say. No card number, token or secret is ever in one of these."""

from decimal import Decimal
from typing import ClassVar, Literal

from msgspec import UNSET, UnsetType

from orderwright.kernel.messages import Event


class PaymentInitiated(Event, frozen=True, kw_only=True):
    """An order's payment exists and waits."""

    event_name: ClassVar[str] = "PaymentInitiated"
    topic: ClassVar[str] = "payment.initiated"
    owner: ClassVar[str] = "payment"
    heard_by: ClassVar[tuple[str, ...]] = ("order",)

    payment_id: str
    order_id: str
    user_id: str
    amount: Decimal
    status: Literal["PENDING"] = "PENDING"
    currency: str | UnsetType = UNSET


class PaymentCompleted(Event, frozen=True, kw_only=True):
    """The money is ours."""

    event_name: ClassVar[str] = "PaymentCompleted"
    topic: ClassVar[str] = "payment.completed"
    owner: ClassVar[str] = "payment"
    heard_by: ClassVar[tuple[str, ...]] = ("order", "inventory")

    payment_id: str
    order_id: str
    status: Literal["COMPLETED"] = "COMPLETED"


class PaymentFailed(Event, frozen=True, kw_only=True):
    """The money will not come."""

    event_name: ClassVar[str] = "PaymentFailed"
    topic: ClassVar[str] = "payment.failed"
    owner: ClassVar[str] = "payment"
    heard_by: ClassVar[tuple[str, ...]] = ("order", "inventory", "notification")

    payment_id: str
    order_id: str
    reason: str


class PaymentRefunded(Event, frozen=True, kw_only=True):
    """Money went back; `amount` is this refund alone."""

    event_name: ClassVar[str] = "PaymentRefunded"
    topic: ClassVar[str] = "payment.refunded"
    owner: ClassVar[str] = "payment"
    heard_by: ClassVar[tuple[str, ...]] = ("order", "notification")

    payment_id: str
    order_id: str
    amount: Decimal
    refunded_total: Decimal | UnsetType = UNSET
    """All that went back so far; equal to what was paid when nothing is left to refund."""
    currency: str | UnsetType = UNSET


EVENTS = (PaymentInitiated, PaymentCompleted, PaymentFailed, PaymentRefunded)
