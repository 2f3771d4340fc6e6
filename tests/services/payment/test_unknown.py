"""What the provider did not answer is asked for until it is known, told to people when that takes too long, and never
done again under another key.
"""

from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from orderwright.contracts.payments import PaymentRefunded
from orderwright.kernel.testing import BenchAnswer, ServiceBench
from orderwright.services.payment.providers import sandbox as sandbox_books
from orderwright.services.payment.tables import payments, refunds
from tests.services.payment.till import (
    CANCELLED,
    RESERVED,
    created,
    paying,
    provider_books,
    said,
    sandbox,
    state,
)

TAKEN, NOT_TAKEN, DOWN, SILENT = "4000000000000010", "4000000000000028", "4000000000000044", "4000000000000051"
REFUND_TIMEOUT, OTHER_AMOUNT = "4000000000000077", "4000000000000085"


async def paid_with(bench: ServiceBench, number: str) -> BenchAnswer:
    """An order's payment with that card."""
    await bench.hear(created(), RESERVED)
    return await bench.request("POST", "/payments", paying(number))


async def staff(bench: ServiceBench, method: str, path: str, json: Any = None, *, query: str = "") -> BenchAnswer:
    return await bench.request(method, path, json, query=query, caller="clerk", roles=("staff",))


async def refunded_with(bench: ServiceBench, number: str) -> dict[str, Any]:
    """A payment with that card that was refunded, and the provider has been asked to do it once."""
    payment: dict[str, Any] = (await paid_with(bench, number)).json
    assert (await staff(bench, "POST", f"/payments/{payment['id']}/refund")).status == 200
    await bench.run_job("refund")
    return payment


async def test_an_unknown_outcome_is_shown_to_the_payer_and_to_staff(bench: ServiceBench) -> None:
    answer = await paid_with(bench, SILENT)
    assert (answer.status, answer.json["status"]) == (202, "pending")
    shown = await bench.request("GET", f"/payments/{answer.json['id']}")
    assert (shown.json["status"], shown.json["unknown_since"] is not None) == ("pending", True)
    listed = await staff(bench, "GET", "/payments", query="status=unknown")
    assert [(one["id"], one["status"]) for one in listed.json["items"]] == [(answer.json["id"], "unknown")]
    assert (await staff(bench, "GET", "/payments", query="status=success")).json["items"] == []
    [waiting] = (await staff(bench, "GET", "/payments/attention")).json
    assert (waiting["kind"], waiting["state"], waiting["overdue"]) == ("charge", "unknown", False)
    for path in ("/payments", "/payments/attention"):
        assert (await bench.request("GET", path)).status == 403


async def test_nothing_else_is_done_while_an_outcome_is_unknown(bench: ServiceBench) -> None:
    payment = (await paid_with(bench, SILENT)).json
    again = await bench.request("POST", "/payments", paying())
    assert (again.status, again.json["type"].rpartition("/")[2]) == (409, "payment-in-progress")
    assert (await staff(bench, "POST", f"/payments/{payment['id']}/refund")).status == 409
    assert await provider_books(bench) == (1, 0)


async def test_a_provider_that_refuses_to_try_leaves_nothing_unknown(bench: ServiceBench) -> None:
    answer = await paid_with(bench, DOWN)
    assert (answer.status, answer.json["unknown_since"], await state(bench)) == (202, None, "charging")
    await bench.hear(CANCELLED)
    assert await state(bench) == "cancelled", "nothing can have come of it"
    bench.clock.advance(3600)
    await bench.run_job("charge")
    assert await provider_books(bench) == (0, 0)


async def test_whatever_breaks_a_call_leaves_the_outcome_unknown(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, broken = sandbox(bench), ConnectionResetError("the line broke")
    charge = provider.charge

    async def breaks_after(*what: Any) -> Any:
        await charge(*what)
        raise broken

    monkeypatch.setattr(provider, "charge", breaks_after)
    assert (await paid_with(bench, "4111111111111111")).status == 202
    assert await state(bench) == "unknown"
    bench.clock.advance(60)
    await bench.run_job("charge")
    assert (await state(bench), await provider_books(bench)) == ("success", (1, 0))


async def test_what_takes_too_long_is_one_alarm_and_is_told_until_it_is_known(bench: ServiceBench) -> None:
    payment = (await paid_with(bench, SILENT)).json
    bench.clock.advance(14 * 60)
    with capture_logs() as early:
        await bench.run_job("alarms")
    bench.clock.advance(2 * 60)
    with capture_logs() as late:
        for _ in range(2):
            await bench.run_job("charge")
            await bench.run_job("alarms")
    critical = [entry for entry in (*early, *late) if entry["log_level"] == "critical"]
    assert [(entry["event"], entry["payment_id"]) for entry in critical] == [("payment_outcome_unknown", payment["id"])]
    ready = await bench.request("GET", "/ready")
    assert (ready.status, ready.json["notes"]["payments"].split(":")[0]) == (
        200,
        "1 charges without an outcome for too long",
    )
    assert metric(bench, "orderwright_payments_unknown", kind="charge", overdue="true") == 1
    [waiting] = (await staff(bench, "GET", "/payments/attention")).json
    assert waiting["overdue"] is True
    assert "/ask" in waiting["what_to_do"]
    bench.clock.advance(10 * 60)
    await bench.run_job("charge")
    await bench.run_job("alarms")
    assert (await bench.request("GET", "/ready")).json["notes"] == {}
    assert metric(bench, "orderwright_payments_unknown", kind="charge", overdue="true") == 0
    assert await provider_books(bench) == (1, 0)


def metric(bench: ServiceBench, name: str, **labels: str) -> float | None:
    """A gauge, as Prometheus reads it."""
    return bench.runtime._metrics.registry.get_sample_value(name, labels)


async def test_staff_can_have_the_provider_asked_now(bench: ServiceBench) -> None:
    payment = (await paid_with(bench, TAKEN)).json
    path = f"/payments/{payment['id']}/ask"
    assert (await bench.request("POST", path)).status == 403
    asked = await staff(bench, "POST", path)
    assert (asked.status, asked.json["answer"], asked.json["status"]) == (200, "captured", "success")
    assert said(bench) == ["PaymentInitiated", "PaymentCompleted"]
    assert (await staff(bench, "POST", path)).json["answer"] == "captured"
    assert (said(bench), await provider_books(bench)) == ([], (1, 0))


async def test_asking_a_provider_that_does_not_answer_says_so_and_changes_nothing(bench: ServiceBench) -> None:
    payment = (await paid_with(bench, SILENT)).json
    asked = await staff(bench, "POST", f"/payments/{payment['id']}/ask")
    assert (asked.status, asked.headers["retry-after"], await state(bench)) == (503, "5", "unknown")


async def test_a_refund_without_an_answer_is_asked_for_and_not_sent_again(bench: ServiceBench) -> None:
    await refunded_with(bench, REFUND_TIMEOUT)
    assert [row["status"] for row in await bench.rows(sa.select(refunds.c.status))] == ["unknown"]
    provider = sandbox(bench)
    asked: list[str] = []
    lookup = provider.lookup_refund

    async def noting(key: str) -> int | None:
        asked.append(key)
        return await lookup(key)

    provider.lookup_refund = noting  # type: ignore[method-assign]
    provider.refund = None  # type: ignore[method-assign, assignment]
    bench.clock.advance(60)
    for _ in range(2):
        await bench.run_job("refund")
    assert [type(event) for event in bench.take_said()].count(PaymentRefunded) == 1
    assert (len(asked), await provider_books(bench)) == (1, (1, 3000))


async def test_a_refund_that_takes_too_long_is_an_alarm(bench: ServiceBench) -> None:
    await refunded_with(bench, REFUND_TIMEOUT)
    bench.clock.advance(16 * 60)
    with capture_logs() as logs:
        for _ in range(2):
            await bench.run_job("alarms")
    assert [entry["event"] for entry in logs if entry["log_level"] == "critical"] == ["refund_outcome_unknown"]
    [waiting] = (await staff(bench, "GET", "/payments/attention")).json
    assert (waiting["kind"], waiting["state"], waiting["overdue"]) == ("refund", "unknown", True)


async def test_a_cancelled_order_is_not_charged_to_find_out_whether_it_was(bench: ServiceBench) -> None:
    assert (await paid_with(bench, NOT_TAKEN)).status == 202
    await bench.hear(CANCELLED)
    bench.clock.advance(60)
    await bench.run_job("charge")
    assert await state(bench) == "unknown", "the call may still be on its way"
    bench.clock.advance(300)
    await bench.run_job("charge")
    assert (await state(bench), await provider_books(bench)) == ("cancelled", (0, 0))
    assert said(bench) == ["PaymentInitiated"]


async def test_another_amount_than_was_asked_waits_for_a_person(bench: ServiceBench) -> None:
    with capture_logs() as logs:
        answer = await paid_with(bench, OTHER_AMOUNT)
    assert (answer.status, answer.json["status"], await state(bench)) == (202, "pending", "quarantined")
    assert "captured_another_amount" in {entry["event"] for entry in logs if entry["log_level"] == "critical"}
    assert (await bench.request("POST", "/payments", paying())).status == 409
    bench.clock.advance(3600)
    await bench.run_job("charge")
    await bench.run_job("alarms")
    [waiting] = (await staff(bench, "GET", "/payments/attention")).json
    assert (waiting["state"], waiting["overdue"]) == ("quarantined", True)
    assert "1 charges of another amount" in (await bench.request("GET", "/ready")).json["notes"]["payments"]
    assert (await staff(bench, "POST", f"/payments/{answer.json['id']}/ask")).json["status"] == "quarantined"
    right = sa.update(sandbox_books.charges).values(amount_minor=3000)
    await sandbox(bench)._books.write(lambda connection: connection.execute(right).rowcount)
    assert (await staff(bench, "POST", f"/payments/{answer.json['id']}/ask")).json["status"] == "success"
    assert said(bench) == ["PaymentInitiated", "PaymentCompleted"]


async def test_what_a_crash_left_in_flight_becomes_unknown_when_its_lease_is_over(bench: ServiceBench) -> None:
    await paid_with(bench, SILENT)
    in_flight = sa.update(payments).values(status="charging", next_attempt_at=bench.clock.now())
    await bench.runtime.database.write(lambda connection: connection.execute(in_flight).rowcount)
    await bench.run_job("charge")
    assert (await state(bench), await provider_books(bench)) == ("unknown", (1, 0))
