"""Webhooks: keep what a provider tells, then see what it calls for.

Invariants: a webhook is a hint, so it never changes a payment by itself; it only makes us ask. Every path decides under
the payment's lock. One that speaks of another amount has no effect at all.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import structlog

from orderwright.kernel.errors import Conflict, NotFound
from orderwright.kernel.retry import Backoff
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.payment.domain import Payment, Verdict, WebhookStatus, differs, judged
from orderwright.services.payment.providers import WebhookEvent
from orderwright.services.payment.store import payments as kept
from orderwright.services.payment.store import refunds as ledger
from orderwright.services.payment.store import webhooks as box
from orderwright.services.payment.store.refunds import Refund
from orderwright.services.payment.store.webhooks import Webhook

log = structlog.get_logger(__name__)

TRY_AGAIN = Backoff(first_s=1, factor=2, max_s=300, attempts=None)
FIRST_LOOK_AFTER = timedelta(seconds=1)
"""Our own row is seldom later than that."""


def take_in(uow: UnitOfWork, provider: str, event: WebhookEvent, body: bytes) -> tuple[WebhookStatus, bool]:
    """Keep an event; answers what is going to become of it as far as can be seen now, and whether it is new."""
    status = _expected(uow, event)
    is_open = status in {WebhookStatus.RECEIVED, WebhookStatus.QUARANTINED}
    webhook = Webhook(
        id=uow.ids.new(),
        provider=provider,
        event_id=event.id,
        type=event.type,
        charge_key=event.charge_key,
        refund_key=event.refund_key,
        captured=event.captured,
        amount_minor=event.amount_minor,
        currency=event.currency,
        status=WebhookStatus.RECEIVED if is_open else status,
        note=None,
        settled_by=None,
        attempts=0,
        next_attempt_at=None if status is WebhookStatus.IGNORED else uow.now + (not is_open) * FIRST_LOOK_AFTER,
        received_at=uow.now,
        updated_at=uow.now,
    )
    new = box.insert(uow.connection, webhook, body)
    if new and is_open:
        uow.wake("webhooks")
    return status, new


def settle(uow: UnitOfWork, webhooks: Sequence[Webhook], park_for: timedelta) -> list[tuple[Webhook, Payment]]:
    """Do what these events call for; answers those for which the provider has to be asked, and about what."""
    to_ask: list[tuple[Webhook, Payment]] = []
    refunds = _refunds(uow, webhooks)
    keys = {webhook.id: _payment_key(webhook, refunds) for webhook in webhooks}
    payments = kept.by_id(uow.connection, [key for key in keys.values() if key], lock=True)
    for webhook in webhooks:
        payment = payments.get(keys[webhook.id] or "")
        refund = refunds.get(webhook.refund_key or "")
        verdict = _verdict(webhook, payment, refund)
        if verdict is Verdict.WAIT:
            _park(uow, webhook, park_for, "nothing is known here of what it speaks of")
        elif verdict is Verdict.QUARANTINE:
            _quarantine(uow, webhook)
        elif verdict is Verdict.LOOK and payment is not None:
            to_ask.append((webhook, payment))
        else:
            if verdict is Verdict.HURRY:
                _hurry(uow, payment, refund)
            box.move(uow.connection, webhook.id, WebhookStatus.DONE, uow.now)
    return to_ask


def asked(uow: UnitOfWork, webhook: Webhook, park_for: timedelta, *, answered: bool) -> None:
    """The provider was asked about an event; without an answer it is asked again."""
    if answered:
        box.move(uow.connection, webhook.id, WebhookStatus.DONE, uow.now)
    else:
        _park(uow, webhook, park_for, "the provider does not answer")


def retry(uow: UnitOfWork, webhook_id: str, by: str) -> Webhook:
    """Somebody of the staff wants an event to be looked at again now."""
    _for_staff(uow, webhook_id)
    received = WebhookStatus.RECEIVED
    box.move(uow.connection, webhook_id, received, uow.now, among=box.FOR_STAFF, again_at=uow.now, by=by)
    uow.wake("webhooks")
    return _known(uow, webhook_id)


def dismiss(uow: UnitOfWork, webhook_id: str, by: str, reason: str) -> Webhook:
    """Somebody of the staff has looked at an event, and nothing is to be done."""
    _for_staff(uow, webhook_id)
    dismissed = WebhookStatus.DISMISSED
    box.move(uow.connection, webhook_id, dismissed, uow.now, among=box.FOR_STAFF, note=reason, by=by)
    return _known(uow, webhook_id)


def _expected(uow: UnitOfWork, event: WebhookEvent) -> WebhookStatus:
    if event.charge_key is None and event.refund_key is None:
        return WebhookStatus.IGNORED
    refund = ledger.by_id(uow.connection, [event.refund_key or ""]).get(event.refund_key or "")
    payment = kept.by_id(uow.connection, [event.charge_key or ""]).get(event.charge_key or "")
    verdict = _verdict(event, payment, refund)
    return {Verdict.WAIT: WebhookStatus.PARKED, Verdict.QUARANTINE: WebhookStatus.QUARANTINED}.get(
        verdict, WebhookStatus.RECEIVED
    )


def _verdict(event: Webhook | WebhookEvent, payment: Payment | None, refund: Refund | None) -> Verdict:
    if event.refund_key is None:
        return judged(payment, captured=event.captured, amount_minor=event.amount_minor, currency=event.currency)
    if refund is None:
        return Verdict.WAIT
    currency = None if payment is None else payment.currency
    if differs(event.amount_minor, refund.amount_minor) or differs(event.currency, currency):
        return Verdict.QUARANTINE
    return Verdict.NOTHING if refund.status == ledger.DONE else Verdict.HURRY


def _refunds(uow: UnitOfWork, webhooks: Sequence[Webhook]) -> dict[str, Refund]:
    keys = [webhook.refund_key for webhook in webhooks if webhook.refund_key is not None]
    return ledger.by_id(uow.connection, keys) if keys else {}


def _payment_key(webhook: Webhook, refunds: Mapping[str, Refund]) -> str | None:
    refund = refunds.get(webhook.refund_key or "")
    return webhook.charge_key if refund is None else refund.payment_id


def _hurry(uow: UnitOfWork, payment: Payment | None, refund: Refund | None) -> None:
    # What is under way and not unknown has its own answer coming, or its lease runs out.
    if refund is not None:
        if ledger.ask_at(uow.connection, refund.id, uow.now):
            uow.wake("refund")
    elif payment is not None and kept.ask_at(uow.connection, payment.id, uow.now):
        uow.wake("charge")


def _park(uow: UnitOfWork, webhook: Webhook, park_for: timedelta, note: str) -> None:
    if uow.now - webhook.received_at < park_for:
        delay_s = TRY_AGAIN.delay_s(webhook.attempts + 1, uow.ids.jitter()) or 0.0
        again_at = uow.now + timedelta(seconds=delay_s)
        box.move(uow.connection, webhook.id, WebhookStatus.PARKED, uow.now, again_at=again_at, note=note)
        return
    log.critical("webhook_stranded", webhook_id=webhook.id, event_id=webhook.event_id, reason=note)
    box.move(uow.connection, webhook.id, WebhookStatus.STRANDED, uow.now, note=note)


def _quarantine(uow: UnitOfWork, webhook: Webhook) -> None:
    note = f"it speaks of {webhook.amount_minor} minor units of {webhook.currency}, which is not what we know"
    log.critical("webhook_quarantined", webhook_id=webhook.id, event_id=webhook.event_id, reason=note)
    box.move(uow.connection, webhook.id, WebhookStatus.QUARANTINED, uow.now, note=note)


def _for_staff(uow: UnitOfWork, webhook_id: str) -> None:
    webhook = box.by_id(uow.connection, webhook_id, lock=True)
    if webhook is None:
        raise NotFound("There is no such webhook")
    if webhook.status not in box.FOR_STAFF:
        raise Conflict(f"The webhook is {webhook.status.value}: there is nothing to decide")


def _known(uow: UnitOfWork, webhook_id: str) -> Webhook:
    webhook = box.by_id(uow.connection, webhook_id)
    assert webhook is not None
    return webhook
