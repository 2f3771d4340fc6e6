"""A webhook is kept, then followed up once; it is never believed, and one that does not fit waits for a person."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from orderwright.contracts.payments import PaymentRefunded
from orderwright.kernel.testing import ServiceBench
from orderwright.services.payment.domain import Payment, PaymentStatus
from orderwright.services.payment.manifest import assemble
from orderwright.services.payment.providers.sandbox_webhooks import outgoing
from orderwright.services.payment.store import payments as kept
from orderwright.services.payment.tables import payments, webhook_events
from tests.services.payment.signing import body_of, send
from tests.services.payment.till import CANCELLED, RESERVED, created, paying, provider_books, said, sandbox, state

TAKEN, REFUND_TIMEOUT, TAKEN_AFTER_ALL = "4000000000000010", "4000000000000077", "4000000000000093"
STRANGER = "019b0000-0000-7000-8000-000000000001"


async def paid_with(bench: ServiceBench, number: str) -> dict[str, Any]:
    """An order's payment with that card."""
    await bench.hear(created(), RESERVED)
    payment: dict[str, Any] = (await bench.request("POST", "/payments", paying(number))).json
    return payment


async def kept_as(bench: ServiceBench) -> list[str]:
    """The states of all webhooks that are kept."""
    rows = await bench.rows(sa.select(webhook_events.c.status).order_by(webhook_events.c.id))
    return [row["status"] for row in rows]


async def follow_up(bench: ServiceBench) -> None:
    for job in ("webhooks", "charge", "refund"):
        await bench.run_job(job)


async def test_only_what_the_provider_signed_just_now_is_kept(bench: ServiceBench) -> None:
    body = body_of("charge.captured", key=(await paid_with(bench, TAKEN))["id"])
    bad: list[dict[str, Any]] = [
        {"secret": "guessed"},
        {"age_s": 301},
        {"age_s": -301},
        {"signed": body + b" "},
        {"version": "v1a"},
        {"event_id": "e" * 256},
    ]
    for how in bad:
        assert (await send(bench, body, **how)).status == 401
    assert (await bench.request("POST", "/webhooks/sandbox", body=body, roles=())).status == 401
    for nonsense in (b"{", b"[]", b'{"type": 7, "data": {}}', body_of("charge.captured", key="k", amount=10**30)):
        assert (await send(bench, nonsense)).status == 422
    assert await kept_as(bench) == []


async def test_a_webhook_is_a_hint_that_is_followed_up_once(bench: ServiceBench) -> None:
    payment = await paid_with(bench, TAKEN)
    body = body_of("charge.captured", key=payment["id"], amount=3000, currency="USD")
    for _ in range(2):
        assert (await send(bench, body)).status == 200
        assert await state(bench) in {"unknown", "success"}, "nothing is believed"
        await follow_up(bench)
    assert said(bench) == ["PaymentInitiated", "PaymentCompleted"]
    assert (await kept_as(bench), await provider_books(bench)) == (["done"], (1, 0))


async def test_a_lie_that_is_signed_moves_nothing(bench: ServiceBench) -> None:
    await bench.hear(created(), RESERVED)
    [row] = await bench.rows(sa.select(payments.c.id))
    assert (await send(bench, body_of("charge.captured", key=row["id"]))).status == 200
    await follow_up(bench)
    assert (await state(bench), await kept_as(bench)) == ("pending", ["done"])


async def test_a_webhook_that_comes_before_our_own_row_is_parked_and_then_followed_up(bench: ServiceBench) -> None:
    provider = sandbox(bench)
    await provider.charge(STRANGER, provider.describe("tok_visa").token, 3000, "USD")
    body = body_of("charge.captured", key=STRANGER, amount=3000, currency="USD")
    assert (await send(bench, body)).status == 202
    bench.clock.advance(2)
    await follow_up(bench)
    assert await kept_as(bench) == ["parked"]
    now = bench.clock.now()
    late = Payment(
        STRANGER,
        "o",
        PaymentStatus.UNKNOWN,
        now,
        now,
        amount_minor=3000,
        currency="USD",
        sent_at=now,
        provider="sandbox",
    )
    await bench.do(lambda uow: len(kept.locked(uow.connection, {"o": late})))
    bench.clock.advance(60)
    await follow_up(bench)
    assert (await state(bench), await kept_as(bench)) == ("success", ["done"])


async def test_a_webhook_whose_payment_never_comes_is_an_alarm_and_staff_settle_it(bench: ServiceBench) -> None:
    assert (await send(bench, body_of("charge.captured", key=STRANGER))).status == 202
    bench.clock.advance(61 * 60)
    with capture_logs() as logs:
        await bench.run_job("webhooks")
        await bench.run_job("webhooks")
    assert [entry["event"] for entry in logs if entry["log_level"] == "critical"] == ["webhook_stranded"]
    [waiting] = (await bench.request("GET", "/payments/attention", roles=("staff",))).json
    assert (waiting["kind"], waiting["state"], waiting["overdue"]) == ("webhook", "stranded", True)
    path = f"/webhook-events/{waiting['id']}"
    assert (await bench.request("POST", f"{path}/dismiss", {"reason": "x"})).status == 403
    assert (await bench.request("POST", f"{path}/retry", roles=("staff",))).json["status"] == "received"
    await bench.run_job("webhooks")
    dismissed = await bench.request("POST", f"{path}/dismiss", {"reason": "of a test shop"}, roles=("staff",))
    assert (dismissed.json["status"], dismissed.json["note"]) == ("dismissed", "of a test shop")
    assert (await bench.request("GET", "/payments/attention", roles=("staff",))).json == []
    assert (await bench.request("POST", f"{path}/retry", roles=("staff",))).status == 409
    assert (await bench.request("POST", "/webhook-events/none/retry", roles=("staff",))).status == 404


@pytest.mark.parametrize("wrong", [{"amount": 2999, "currency": "USD"}, {"amount": 3000, "currency": "EUR"}])
async def test_a_webhook_of_another_amount_or_currency_is_quarantined(
    bench: ServiceBench, wrong: dict[str, Any]
) -> None:
    payment = await paid_with(bench, TAKEN)
    said(bench)
    assert (await send(bench, body_of("charge.captured", key=payment["id"], **wrong))).status == 202
    with capture_logs() as logs:
        await follow_up(bench)
    assert (await kept_as(bench), await state(bench), said(bench)) == (["quarantined"], "unknown", [])
    assert [entry["event"] for entry in logs if entry["log_level"] == "critical"] == ["webhook_quarantined"]
    await bench.run_job("alarms")
    assert "1 webhooks quarantined" in (await bench.request("GET", "/ready")).json["notes"]["payments"]
    attention = (await bench.request("GET", "/payments/attention", roles=("staff",))).json
    assert {one["kind"] for one in attention} == {"charge", "webhook"}


async def test_money_that_was_taken_after_our_cancel_goes_back(bench: ServiceBench) -> None:
    payment = await paid_with(bench, TAKEN_AFTER_ALL)
    assert payment["status"] == "failed"
    await bench.hear(CANCELLED)
    assert (await send(bench, body_of("charge.captured", key=payment["id"], amount=3000, currency="USD"))).status == 200
    await follow_up(bench)
    assert said(bench) == ["PaymentInitiated", "PaymentFailed", "PaymentCompleted", "PaymentRefunded"]
    assert await provider_books(bench) == (1, 3000)


async def test_money_that_was_taken_after_all_goes_back_when_the_order_is_cancelled_later(bench: ServiceBench) -> None:
    payment = await paid_with(bench, TAKEN_AFTER_ALL)
    await send(bench, body_of("charge.captured", key=payment["id"]))
    await follow_up(bench)
    assert await state(bench) == "success"
    await bench.hear(CANCELLED)
    await follow_up(bench)
    assert await provider_books(bench) == (1, 3000)


async def test_an_event_of_no_use_is_counted_and_ignored(bench: ServiceBench) -> None:
    assert (await send(bench, body_of("customer.updated", name="x"))).status == 200
    await follow_up(bench)
    assert await kept_as(bench) == ["ignored"]
    labels = {"provider": "sandbox", "outcome": "ignored"}
    counted = bench.runtime._metrics.registry.get_sample_value("orderwright_payment_webhooks_total", labels)
    assert counted == 1


async def test_a_webhook_about_a_refund_has_it_asked_for(bench: ServiceBench) -> None:
    payment = await paid_with(bench, REFUND_TIMEOUT)
    refund = (await bench.request("POST", f"/payments/{payment['id']}/refund", roles=("staff",))).json["refund"]
    await bench.run_job("refund")
    assert PaymentRefunded not in {type(event) for event in bench.take_said()}
    money = {"key": payment["id"], "refund_key": refund["id"], "currency": "USD"}
    assert (await send(bench, body_of("refund.succeeded", amount=1, **money), event_id="e-0")).status == 202
    assert (await send(bench, body_of("refund.succeeded", amount=3000, **money))).status == 200
    await follow_up(bench)
    assert said(bench) == ["PaymentRefunded"]
    assert sorted(await kept_as(bench)) == ["done", "quarantined"]


async def test_the_sandbox_sends_webhooks_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERWRIGHT_PAYMENT_SANDBOX_WEBHOOKS", "true")
    monkeypatch.setenv("ORDERWRIGHT_PAYMENT_ORDER_WAIT_S", "0")
    async with ServiceBench.open(assemble, "payment", tmp_path) as bench:
        payment = await paid_with(bench, TAKEN)
        await bench.run_job("sandbox-webhooks")
        await follow_up(bench)
        assert await state(bench) == "success", "without waiting for the next time that we would have asked"
        await bench.request("POST", f"/payments/{payment['id']}/refund", roles=("staff",))
        await bench.run_job("refund")
        for job in ("sandbox-webhooks", "webhooks"):
            await bench.run_job(job)
        assert await kept_as(bench) == ["done", "done"]
        left = sa.select(sa.func.count()).select_from(outgoing)
        assert await sandbox(bench)._books.read(lambda connection: connection.execute(left).scalar()) == 0
