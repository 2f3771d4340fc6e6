"""What was taken, kept and given back: between the order, payment, and the provider's own books."""

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from orderwright.audit.findings import Report
from orderwright.services.order.tables import orders
from orderwright.services.payment.providers.sandbox import charges
from orderwright.services.payment.providers.sandbox import refunds as given_back
from orderwright.services.payment.tables import payments, refunds
from tests.audit.ledger import Ledger

LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)


async def test_money_of_a_cancelled_order_that_nobody_decided_to_give_back_is_found(ledger: Ledger) -> None:
    order_id = ledger.story["cancelled late"]
    payment_id = await _payment_of(ledger, order_id)
    await ledger.change("payment", sa.delete(refunds).where(refunds.c.payment_id == payment_id))
    await ledger.change("payment", _of(payment_id).values(promised_minor=0, refunded_minor=0))
    await ledger.change("sandbox", sa.delete(given_back).where(given_back.c.charge_key == payment_id))
    await ledger.change("order", sa.update(orders).where(orders.c.id == order_id).values(refunded_amount=0))
    report = await ledger.audit(histories=0)
    assert _told(report) == [("money_kept", f"order {order_id}", f"89.97 USD are kept, payment {payment_id}")]


async def test_a_refund_that_was_decided_long_ago_and_is_not_done_is_found(ledger: Ledger) -> None:
    order_id = ledger.story["refunded in part"]
    payment_id = await _payment_of(ledger, order_id)
    waiting = sa.update(refunds).where(refunds.c.payment_id == payment_id)
    await ledger.change("payment", waiting.values(status="pending", created_at=LONG_AGO))
    await ledger.change("payment", _of(payment_id).values(refunded_minor=0))
    await ledger.change("order", sa.update(orders).where(orders.c.id == order_id).values(refunded_amount=0))
    report = await ledger.audit(histories=0)
    assert [(finding.kind, finding.key) for finding in report.findings] == [("refund_overdue", order_id)]


async def test_a_charge_of_another_amount_at_the_provider_is_found(ledger: Ledger) -> None:
    order_id = ledger.story["completed"]
    payment_id = await _payment_of(ledger, order_id)
    await ledger.change("sandbox", sa.update(charges).where(charges.c.key == payment_id).values(amount_minor=7000))
    report = await ledger.audit()
    detail = "ours: 7997 minor units; the provider's: 7000 (success)"
    assert _told(report) == [("charge_differs", f"payment {payment_id}", detail)]
    assert report.findings[0].key == order_id


async def test_money_that_we_think_we_have_and_the_provider_never_took_is_found(ledger: Ledger) -> None:
    payment_id = await _payment_of(ledger, ledger.story["completed"])
    await ledger.change("sandbox", sa.delete(charges).where(charges.c.key == payment_id))
    assert [finding.kind for finding in (await ledger.audit()).findings] == ["charge_differs"]


async def test_money_that_the_provider_took_and_nobody_knows_of_is_found(ledger: Ledger) -> None:
    row = {"key": "0198-lost", "outcome": "captured", "amount_minor": 5, "currency": "USD", "at": LONG_AGO}
    await ledger.change("sandbox", sa.insert(charges).values(row))
    report = await ledger.audit()
    assert _told(report) == [("charge_unknown", "payment 0198-lost", "the provider took 5 minor units of USD")]


async def test_a_refund_that_the_provider_does_not_know_is_found(ledger: Ledger) -> None:
    payment_id = await _payment_of(ledger, ledger.story["refunded in part"])
    await ledger.change("sandbox", sa.delete(given_back).where(given_back.c.charge_key == payment_id))
    report = await ledger.audit()
    assert [(f.kind, f.subject) for f in report.findings] == [("refund_differs", f"payment {payment_id}")]


async def test_a_refund_that_the_provider_made_without_us_is_found(ledger: Ledger) -> None:
    payment_id = await _payment_of(ledger, ledger.story["completed"])
    row = {"key": "stranger", "charge_key": payment_id, "amount_minor": 5, "at": LONG_AGO}
    await ledger.change("sandbox", sa.insert(given_back).values(row))
    [finding] = (await ledger.audit()).findings
    assert (finding.kind, finding.subject) == ("refund_differs", f"payment {payment_id}")
    assert "stranger" in finding.detail


async def test_refunds_that_do_not_add_up_to_what_their_payment_says_are_found(ledger: Ledger) -> None:
    payment_id = await _payment_of(ledger, ledger.story["refunded in part"])
    ours = sa.update(refunds).where(refunds.c.payment_id == payment_id)
    theirs = sa.update(given_back).where(given_back.c.charge_key == payment_id)
    await ledger.change("payment", ours.values(amount_minor=499))
    await ledger.change("sandbox", theirs.values(amount_minor=499))
    report = await ledger.audit()
    assert [(f.kind, f.subject) for f in report.findings] == [("refund_sums", f"payment {payment_id}")]


async def test_the_books_of_another_provider_are_left_alone_and_that_is_said(ledger: Ledger) -> None:
    payment_id = await _payment_of(ledger, ledger.story["completed"])
    await ledger.change("sandbox", sa.delete(charges).where(charges.c.key == payment_id))
    report = await ledger.audit(provider="stripe")
    assert report.clean
    assert report.notes == ["The books of stripe are not read here; compare its report with payments"]


async def _payment_of(ledger: Ledger, order_id: str) -> str:
    return str(await ledger.ask("payment", sa.select(payments.c.id).where(payments.c.order_id == order_id)))


def _of(payment_id: str) -> sa.Update:
    return sa.update(payments).where(payments.c.id == payment_id)


def _told(report: Report) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.subject, finding.detail) for finding in report.findings]
