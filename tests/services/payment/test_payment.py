"""Nobody is charged twice, nothing is kept for a cancelled order, an unknown outcome is asked for.

The provider's own books are the judge.
"""

import asyncio
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.inventory import StockReserved
from orderwright.contracts.payments import PaymentCompleted, PaymentFailed, PaymentInitiated, PaymentRefunded
from orderwright.kernel.testing import ServiceBench
from orderwright.services.payment.domain import passes_luhn
from orderwright.services.payment.manifest import assemble
from orderwright.services.payment.providers import Captured, Declined, Outcome, ProviderTimeout, ProviderUnavailable
from orderwright.services.payment.providers.sandbox import Sandbox
from orderwright.services.payment.store import payments as store
from orderwright.services.payment.tables import OWN_TABLES, payments
from tests.services.payment.till import CANCELLED, RESERVED, card, created, name_method, paying, provider_books, said


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_charge_waits_for_the_goods_whichever_message_comes_first(
    bench: ServiceBench, order: tuple[int, int]
) -> None:
    await name_method(bench)
    events = [created(), RESERVED]
    await bench.hear(events[order[0]])
    await bench.run_job("charge")
    assert await provider_books(bench) == (0, 0)
    await bench.hear(events[order[1]])
    await bench.run_job("charge")
    assert said(bench) == ["PaymentInitiated", "PaymentCompleted"]
    assert await provider_books(bench) == (1, 0)


async def test_everything_twice_is_one_payment_and_one_charge(bench: ServiceBench) -> None:
    await name_method(bench)
    for _ in range(2):
        await bench.hear(created(), RESERVED)
        await bench.run_job("charge")
    assert said(bench) == ["PaymentInitiated", "PaymentCompleted"]
    assert await provider_books(bench) == (1, 0)


async def test_an_order_of_an_amount_is_payable_at_once(bench: ServiceBench) -> None:
    await name_method(bench)
    await bench.hear(created(goods=False))
    await bench.run_job("charge")
    assert said(bench) == ["PaymentInitiated", "PaymentCompleted"]


async def test_a_cancellation_that_came_first_lets_nothing_be_charged(bench: ServiceBench) -> None:
    await name_method(bench)
    await bench.hear(CANCELLED)
    await bench.hear(created(), RESERVED)
    await bench.run_job("charge")
    assert (said(bench), await provider_books(bench)) == ([], (0, 0))
    assert (await bench.request("POST", "/payments", paying())).status == 409


async def test_a_cancellation_before_the_charge_began_stops_it(bench: ServiceBench) -> None:
    await name_method(bench)
    await bench.hear(created(), RESERVED)
    await bench.hear(CANCELLED)
    await bench.run_job("charge")
    assert await provider_books(bench) == (0, 0)


async def test_a_cancellation_after_the_charge_gives_it_all_back_once(bench: ServiceBench) -> None:
    await name_method(bench)
    await bench.hear(created(), RESERVED)
    await bench.run_job("charge")
    await bench.hear(CANCELLED, CANCELLED)
    await bench.hear(CANCELLED)
    for _ in range(2):
        await bench.run_job("refund")
    refunded = [event for event in bench.take_said() if isinstance(event, PaymentRefunded)]
    assert [(event.amount, event.refunded_total) for event in refunded] == [(Decimal("30.00"), Decimal("30.00"))]
    assert await provider_books(bench) == (1, 3000)


async def test_money_that_turns_out_to_be_taken_for_a_cancelled_order_goes_back(bench: ServiceBench) -> None:
    await bench.hear(created(), RESERVED)
    unknown = await bench.request("POST", "/payments", paying("4000000000000010"))
    assert (unknown.status, unknown.json["status"]) == (202, "pending")
    await bench.hear(CANCELLED)
    bench.clock.advance(60)
    await bench.run_job("charge")
    await bench.run_job("refund")
    assert said(bench) == ["PaymentInitiated", "PaymentCompleted", "PaymentRefunded"]
    assert await provider_books(bench) == (1, 3000)


@pytest.mark.parametrize("number", ["4000000000000010", "4000000000000028", "4000000000000044"])
async def test_an_unknown_outcome_is_found_out_and_never_charged_twice(bench: ServiceBench, number: str) -> None:
    await bench.hear(created(), RESERVED)
    first = await bench.request("POST", "/payments", paying(number))
    assert first.status == 202
    assert (await bench.request("POST", "/payments", paying())).status == 409
    for _ in range(5):
        bench.clock.advance(120)
        await bench.run_job("charge")
    assert said(bench) == ["PaymentInitiated", "PaymentCompleted"]
    assert await provider_books(bench) == (1, 0)


async def test_a_crash_after_the_capture_is_resolved_by_asking(bench: ServiceBench) -> None:
    await name_method(bench)
    await bench.hear(created(), RESERVED)
    provider, now = bench.runtime.service.desk.provider, bench.clock.now()  # type: ignore[attr-defined]
    [claimed] = await bench.runtime.database.write(
        lambda connection: store.claim_due(connection, now, limit=10, lease=timedelta(seconds=30))
    )
    await provider.charge(claimed.id, claimed.method_token, claimed.amount_minor, claimed.currency)
    await bench.run_job("charge")
    assert said(bench) == ["PaymentInitiated"], "its lease still runs"
    bench.clock.advance(31)
    await bench.run_job("charge")
    assert said(bench) == ["PaymentCompleted"]
    assert await provider_books(bench) == (1, 0)


async def test_two_who_pay_at_once_pay_once(bench: ServiceBench) -> None:
    await bench.hear(created(), RESERVED)
    answers = await asyncio.gather(*(bench.request("POST", "/payments", paying()) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    assert await provider_books(bench) == (1, 0)


async def test_a_repeated_request_answers_the_same_and_charges_nothing(bench: ServiceBench) -> None:
    await bench.hear(created(), RESERVED)
    key = {"idempotency-key": "k"}
    first = await bench.request("POST", "/payments", paying(), headers=key)
    again = await bench.request("POST", "/payments", paying(), headers=key)
    assert (again.status, again.json, again.headers["idempotency-replayed"]) == (201, first.json, "true")
    assert (await bench.request("POST", "/payments", paying(amount="31.00"), headers=key)).status == 422
    assert await provider_books(bench) == (1, 0)


async def test_a_declined_card_answers_with_the_payment_itself(bench: ServiceBench) -> None:
    await bench.hear(created(), RESERVED)
    answer = await bench.request("POST", "/payments", paying("4000000000009995"))
    assert (answer.status, answer.json["status"], answer.json["failure_code"]) == (400, "failed", "insufficient_funds")
    [_, failed] = bench.take_said()
    assert isinstance(failed, PaymentFailed)
    assert (failed.reason, answer.json["card"]) == ("insufficient_funds", {"brand": "visa", "last4": "9995"})


async def test_what_does_not_fit_is_refused_and_begins_nothing(bench: ServiceBench) -> None:
    await bench.hear(created())
    assert (await bench.request("POST", "/payments", paying())).status == 409
    await bench.hear(RESERVED)
    assert (await bench.request("POST", "/payments", paying(amount="29.99"))).status == 422
    assert (await bench.request("POST", "/payments", {**paying(), "currency": "EUR"})).status == 422
    assert (await bench.request("POST", "/payments", paying(), caller="somebody-else")).status == 404
    assert (await bench.request("POST", "/payments", {**paying(), "order_id": "unknown"})).status == 404
    for changes in ({"cvv": "12"}, {"expiry": "12/25"}, {"expiry": "1235"}, {"card_number": "4111111111111112"}):
        body = {**paying(), "payment_method": card(**changes)}
        assert (await bench.request("POST", "/payments", body)).status == 422
    assert await provider_books(bench) == (0, 0)


async def test_refunds_at_once_never_pass_what_was_captured(bench: ServiceBench) -> None:
    await bench.hear(created(), RESERVED)
    payment = (await bench.request("POST", "/payments", paying())).json
    path, body = f"/payments/{payment['id']}/refund", {"amount": "18.00"}
    answers = await asyncio.gather(*(bench.request("POST", path, body, roles=("staff",)) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [422] * 19
    await bench.run_job("refund")
    assert await provider_books(bench) == (1, 1800)
    assert (await bench.request("GET", f"/payments/{payment['id']}")).json["status"] == "partially_refunded"
    assert (await bench.request("POST", path, {"amount": 0}, roles=("staff",))).status == 422


class Till(Sandbox):
    """The sandbox, which notes how many calls were on their way together."""

    def __init__(self, sandbox: Sandbox, calls_at_once: int) -> None:
        self.calls_at_once = calls_at_once
        self.most = 0
        self._under_way = 0
        self._sandbox = sandbox

    async def charge(self, key: str, token: str, amount_minor: int, currency: str) -> Outcome:
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return await self._sandbox.charge(key, token, amount_minor, currency)
        finally:
            self._under_way -= 1


@pytest.mark.parametrize(("allowed", "most"), [(100, 30), (7, 7)], ids=["all together", "a few at a time"])
async def test_as_many_charges_are_on_their_way_as_the_provider_allows(
    bench: ServiceBench, allowed: int, most: int
) -> None:
    orders = [f"o-{n}" for n in range(30)]
    named = [{"order_id": order, "customer_id": "customer-1", "payment_method": card()} for order in orders]
    await bench.request("POST", "/payment-methods", {"items": named}, roles=("service",))
    await bench.hear(*[created(order) for order in orders], *[StockReserved(order_id=o, items=[]) for o in orders])
    cashier = bench.runtime.service.desk.cashier  # type: ignore[attr-defined]
    cashier.provider = till = Till(cashier.provider, allowed)
    await bench.run_job("charge")
    assert (till.most, await provider_books(bench)) == (most, (30, 0))


async def test_the_sandbox_fits_the_contract_of_a_provider(bench: ServiceBench) -> None:
    provider = bench.runtime.service.desk.provider  # type: ignore[attr-defined]
    token = provider.describe("tok_visa").token
    for _ in range(2):
        assert await provider.charge("key", token, 500, "USD") == Captured(500, "USD")
    assert await provider.lookup("key") == Captured(500, "USD")
    assert await provider.lookup("never") is None
    assert await provider.charge("no", provider.describe("tok_declined").token, 1, "USD") == Declined("card_declined")
    with pytest.raises(ProviderTimeout):
        await provider.charge("lost", "tok_visa_0010_timeout_taken", 700, "USD")
    assert await provider.lookup("lost") == Captured(700, "USD")
    for _ in range(2):
        await provider.refund("back", "key", 500)
    with pytest.raises(ProviderUnavailable):
        await provider.refund("more", "key", 1)


def everything_in(folder: Path) -> bytes:
    """All files there, one after the other."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_no_card_number_is_kept_anywhere(bench: ServiceBench, tmp_path: Path) -> None:
    await name_method(bench)
    await bench.hear(created(), RESERVED)
    await bench.run_job("charge")
    await bench.request("POST", "/payments", paying(), headers={"idempotency-key": "k"})
    kept = everything_in(tmp_path)
    kept += repr([await bench.rows(sa.select(table)) for table in OWN_TABLES]).encode()
    suspects = {number.decode() for number in re.findall(rb"(?<![0-9])[0-9]{13,19}(?![0-9])", kept)}
    assert not [number for number in suspects if passes_luhn(number) and number.startswith(("4", "5", "37"))]
    assert (await bench.rows(sa.select(payments.c.last4)))[0]["last4"] == "1111"
    events = bench.take_said()
    assert {type(event) for event in events} == {PaymentInitiated, PaymentCompleted}


async def test_an_order_that_was_placed_just_now_can_be_held_as_soon_as_it_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_PAYMENT_ORDER_WAIT_S", "2")
    async with ServiceBench.open(assemble, "payment", tmp_path) as bench:
        hold = bench.request("PUT", "/payments/order/o/hold", {"holder": "h"}, roles=("service",))
        asked = asyncio.ensure_future(hold)
        answered, _ = await asyncio.wait([asked], timeout=0.3)
        assert not answered
        await bench.hear(created())
        assert (await asked).status == 200
