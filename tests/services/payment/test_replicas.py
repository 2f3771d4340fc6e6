"""Two replicas at work on the same payments at once: what one of them knows is never overwritten by the other, and
money moves once.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.inventory import StockReserved
from orderwright.contracts.orders import OrderCancelled
from orderwright.contracts.payments import PaymentCompleted, PaymentInitiated, PaymentRefunded
from orderwright.kernel.testing import ServiceBench
from orderwright.services.payment.domain import Method
from orderwright.services.payment.manifest import assemble
from orderwright.services.payment.store import methods
from orderwright.services.payment.tables import payments
from tests.services.payment.signing import body_of, send
from tests.services.payment.till import card, created, paying, provider_books

ORDERS = [f"o-{n}" for n in range(12)]
TAKEN = "4000000000000010"


@pytest.fixture
async def other(bench: ServiceBench, tmp_path: Path) -> AsyncIterator[ServiceBench]:
    """A second replica, on the same database; its ids are others."""
    async with ServiceBench.open(assemble, "payment", tmp_path, seed=1) as opened:
        # Nobody is the only one here.
        bench.runtime.database.exclusive = opened.runtime.database.exclusive = False
        yield opened


async def name_methods(bench: ServiceBench) -> None:
    items = [{"order_id": order, "customer_id": "customer-1", "payment_method": card()} for order in ORDERS]
    answer = await bench.request("POST", "/payment-methods", {"items": items}, roles=("service",))
    assert all(result["ok"] for result in answer.json["results"])


def heard(*benches: ServiceBench) -> list[type]:
    """The kinds of events that any of them said."""
    return [type(event) for bench in benches for event in bench.take_said()]


async def test_what_two_replicas_hear_of_a_new_order_at_once_adds_up(bench: ServiceBench, other: ServiceBench) -> None:
    await name_methods(bench)
    await asyncio.gather(
        *(bench.hear(created(order)) for order in ORDERS),
        *(other.hear(StockReserved(order_id=order, items=[])) for order in ORDERS),
    )
    await asyncio.gather(*(replica.run_job("charge") for replica in (bench, other)))
    kinds = heard(bench, other)
    assert kinds.count(PaymentInitiated) == kinds.count(PaymentCompleted) == len(ORDERS)
    assert await provider_books(bench) == (len(ORDERS), 0)


async def test_a_method_named_beside_its_order_is_used(bench: ServiceBench, other: ServiceBench) -> None:
    await asyncio.gather(
        name_methods(other), *(bench.hear(created(order), StockReserved(order_id=order, items=[])) for order in ORDERS)
    )
    await bench.run_job("begin-left")
    await asyncio.gather(*(replica.run_job("charge") for replica in (bench, other)))
    assert heard(bench, other).count(PaymentCompleted) == len(ORDERS)


async def test_a_charge_that_two_replicas_left_to_each_other_is_begun(bench: ServiceBench) -> None:
    await bench.hear(created(), StockReserved(order_id="o", items=[]))
    # As when the method was written while another replica had already looked for one.
    method = Method("o", "customer-1", "tok_visa_4242_approve", "visa", "4242")
    await bench.do(lambda uow: methods.save(uow.connection, [method], uow.now))
    await bench.run_job("begin-left")
    await bench.run_job("charge")
    assert heard(bench) == [PaymentInitiated, PaymentCompleted]


async def test_a_request_two_jobs_and_a_webhook_at_once_are_one_charge(
    bench: ServiceBench, other: ServiceBench
) -> None:
    await bench.hear(created(), StockReserved(order_id="o", items=[]))
    payment = (await bench.request("POST", "/payments", paying(TAKEN))).json
    for replica in (bench, other):
        replica.clock.advance(60)
    body = body_of("charge.captured", key=payment["id"], amount=3000, currency="USD")
    asks = f"/payments/{payment['id']}/ask"
    requests = asyncio.gather(
        *(send(replica, body) for replica in (bench, other)),
        *(replica.request("POST", asks, roles=("staff",)) for replica in (bench, other)),
        *(replica.request("POST", "/payments", paying()) for replica in (bench, other)),
    )
    jobs = [replica.run_job(job) for replica in (bench, other) for job in ("charge", "webhooks")]
    await asyncio.gather(other.hear(OrderCancelled(order_id="o", reason="x")), *jobs)
    answers = await requests
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 409, 409]
    for replica in (bench, other):
        await replica.run_job("refund")
    kinds = heard(bench, other)
    assert (kinds.count(PaymentCompleted), kinds.count(PaymentRefunded)) == (1, 1)
    assert await provider_books(bench) == (1, 3000)


async def test_refunds_of_two_replicas_never_pass_what_was_captured(bench: ServiceBench, other: ServiceBench) -> None:
    await bench.hear(created(), StockReserved(order_id="o", items=[]))
    payment = (await bench.request("POST", "/payments", paying())).json
    path, body = f"/payments/{payment['id']}/refund", {"amount": "18.00"}
    answers = await asyncio.gather(
        *(replica.request("POST", path, body, roles=("staff",)) for replica in (bench, other) * 4)
    )
    assert sorted(answer.status for answer in answers) == [200] + [422] * 7
    await asyncio.gather(*(replica.run_job("refund") for replica in (bench, other) * 2))
    assert heard(bench, other).count(PaymentRefunded) == 1
    assert (await bench.rows(sa.select(payments.c.refunded_minor))) == [{"refunded_minor": 1800}]
    assert await provider_books(bench) == (1, 1800)
