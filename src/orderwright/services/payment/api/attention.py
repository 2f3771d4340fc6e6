"""What staff see of payments: all of them by state, and what waits for an answer or for a person, with what to do.

Invariant: nothing here moves money. Asking the provider writes down what it says, and that is all.
"""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from orderwright.kernel.auth import Staff
from orderwright.kernel.errors import Malformed
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.web import Body, Cursor, ExactRoute, Limit, Page, ShortText, View
from orderwright.services.payment.actions import charges, webhooks
from orderwright.services.payment.api.desk import Desk
from orderwright.services.payment.api.schemas import PaymentView, members_of
from orderwright.services.payment.domain import Payment, PaymentStatus, WebhookStatus
from orderwright.services.payment.providers import Captured, Outcome
from orderwright.services.payment.store import payments as kept
from orderwright.services.payment.store import refunds as ledger
from orderwright.services.payment.store import webhooks as box
from orderwright.services.payment.store.refunds import Refund
from orderwright.services.payment.store.webhooks import Webhook

router = APIRouter(route_class=ExactRoute, tags=["payments"])

WHAT_TO_DO: Final = {
    "charge unknown": "The provider is asked by itself. Overdue: look up this payment's id at the provider; once it "
    "answers again, POST /payments/{id}/ask.",
    "charge charging": "The provider cannot be reached, and nothing was taken. See whether it is down.",
    "charge quarantined": "The provider took another amount than was asked. Correct it there, then "
    "POST /payments/{id}/ask.",
    "refund pending": "The provider refuses or cannot be reached, and nothing went back. See why in the log: "
    "refund_postponed.",
    "refund unknown": "The provider is asked by itself. Overdue: look up this refund's id at the provider; once it "
    "answers again, POST /payments/{id}/ask.",
    "webhook parked": "It speaks of a payment that is not known here yet, and is tried again by itself.",
    "webhook stranded": "What it speaks of never came. Was a database restored? Find its key at the provider, then "
    "POST /webhook-events/{id}/retry or /dismiss.",
    "webhook quarantined": "It speaks of another amount than ours, and had no effect. Compare with the provider, then "
    "POST /webhook-events/{id}/retry or /dismiss.",
}


class StaffPaymentView(PaymentView):
    """A payment in the state that it is really in: `charging`, `unknown`, `quarantined`, …"""

    customer_id: str | None
    undecided_since: datetime | None
    attempts: int
    next_attempt_at: datetime | None
    order_cancelled: bool


class AskedView(StaffPaymentView):
    answer: str = Field(description="The provider's word: captured, never_arrived, or why it declined")


class AttentionView(View):
    """Something that waits for an answer, or for a person."""

    kind: str
    id: str
    state: str
    payment_id: str | None
    order_id: str | None
    since: datetime
    overdue: bool
    attempts: int
    next_attempt_at: datetime | None
    note: str | None
    what_to_do: str


class DismissBody(Body):
    reason: ShortText


class WebhookView(View):
    id: str
    provider: str
    event_id: str
    type: str
    charge_key: str | None
    refund_key: str | None
    status: str
    note: str | None
    settled_by: str | None
    received_at: datetime


@router.get("/payments", summary="Payments by state, the newest first (staff)")
async def list_payments(
    _: Staff, desk: Desk, status: PaymentStatus | None = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[StaffPaymentView]:
    """`status` is the state that a payment is really in, as `unknown`; its payer sees all that is open as `pending`."""
    if cursor is not None and not is_uuid(cursor):
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    found = await desk.kit.units.read(
        lambda connection: kept.listed(connection, status=status, before=cursor, limit=limit + 1)
    )
    following = found[limit - 1].id if len(found) > limit else None
    return Page(items=[_staff_view(payment) for payment in found[:limit]], next_cursor=following)


@router.get("/payments/attention", summary="What waits for an answer or for a person (staff)")
async def list_attention(
    _: Staff, desk: Desk, limit: Annotated[int, Query(ge=1, le=200, description="How many of a kind")] = 100
) -> list[AttentionView]:
    """Charges and refunds without an outcome, and webhooks that do not fit; the oldest first, each with what to do."""
    before = desk.overdue_before
    payments = await desk.kit.units.read(lambda connection: kept.waiting(connection, before, limit=limit))
    refunds = await desk.kit.units.read(lambda connection: ledger.waiting(connection, before, limit=limit))
    hooks = await desk.kit.units.read(lambda connection: box.waiting(connection, box.FOR_STAFF, limit=limit))
    found = [_charge(payment, before) for payment in payments]
    found += [_refund(refund, before) for refund in refunds]
    found += [_webhook(webhook) for webhook in hooks]
    return sorted(found, key=lambda one: one.since)


@router.post("/payments/{payment_id}/ask", summary="Ask the provider now what became of a payment (staff)")
async def ask_provider(payment_id: str, _: Staff, desk: Desk) -> AskedView:
    """Its refunds that are open are asked about too. Nothing is charged by asking."""
    payment = await desk.payment(payment_id)
    outcome = await desk.cashier.find_out(payment)
    await desk.kit.units.run(lambda uow: charges.hurry(uow, payment_id))
    return AskedView(**_staff_members(await desk.payment(payment_id)), answer=_answer(outcome))


@router.post("/webhook-events/{webhook_id}/retry", summary="Look at a webhook again now (staff)", tags=["webhooks"])
async def retry_webhook(webhook_id: str, caller: Staff, desk: Desk) -> WebhookView:
    return _webhook_view(await desk.kit.units.run(lambda uow: webhooks.retry(uow, webhook_id, caller.id)))


@router.post("/webhook-events/{webhook_id}/dismiss", summary="Settle a webhook by hand (staff)", tags=["webhooks"])
async def dismiss_webhook(webhook_id: str, body: DismissBody, caller: Staff, desk: Desk) -> WebhookView:
    """It stays without effect, with who decided that and why."""
    dismissed = await desk.kit.units.run(lambda uow: webhooks.dismiss(uow, webhook_id, caller.id, body.reason))
    return _webhook_view(dismissed)


def _answer(outcome: Outcome | None) -> str:
    if outcome is None:
        return "never_arrived"
    return "captured" if isinstance(outcome, Captured) else outcome.code


def _staff_members(payment: Payment) -> dict[str, Any]:
    return {
        **members_of(payment),
        "status": payment.status.value,
        "customer_id": payment.customer_id,
        "undecided_since": payment.undecided_since,
        "attempts": payment.attempts,
        "next_attempt_at": payment.next_attempt_at,
        "order_cancelled": payment.order_cancelled,
    }


def _staff_view(payment: Payment) -> StaffPaymentView:
    return StaffPaymentView(**_staff_members(payment))


def _charge(payment: Payment, before: datetime) -> AttentionView:
    since = payment.undecided_since or payment.updated_at
    return AttentionView(
        kind="charge",
        id=payment.id,
        state=payment.status.value,
        payment_id=payment.id,
        order_id=payment.order_id,
        since=since,
        overdue=since < before or payment.status is PaymentStatus.QUARANTINED,
        attempts=payment.attempts,
        next_attempt_at=payment.next_attempt_at,
        note=None,
        what_to_do=WHAT_TO_DO[f"charge {payment.status.value}"],
    )


def _refund(refund: Refund, before: datetime) -> AttentionView:
    return AttentionView(
        kind="refund",
        id=refund.id,
        state=refund.status,
        payment_id=refund.payment_id,
        order_id=None,
        since=refund.created_at,
        overdue=refund.created_at < before,
        attempts=refund.attempts,
        next_attempt_at=refund.next_attempt_at,
        note=refund.reason,
        what_to_do=WHAT_TO_DO[f"refund {refund.status}"],
    )


def _webhook(webhook: Webhook) -> AttentionView:
    return AttentionView(
        kind="webhook",
        id=webhook.id,
        state=webhook.status.value,
        payment_id=webhook.charge_key,
        order_id=None,
        since=webhook.received_at,
        overdue=webhook.status is not WebhookStatus.PARKED,
        attempts=webhook.attempts,
        next_attempt_at=webhook.next_attempt_at,
        note=webhook.note,
        what_to_do=WHAT_TO_DO[f"webhook {webhook.status.value}"],
    )


def _webhook_view(webhook: Webhook) -> WebhookView:
    return WebhookView(**{name: getattr(webhook, name) for name in WebhookView.model_fields})
