"""Who waits for an order's stock is answered with the news, and so is every repetition."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from orderwright.contracts.catalog import ProductCreated
from orderwright.contracts.inventory import StockReservationFailed, StockReserved
from orderwright.contracts.payments import PaymentCompleted
from orderwright.kernel import idempotency
from orderwright.kernel.idempotency import Answer, Claim
from orderwright.kernel.tables import idempotency_keys
from orderwright.kernel.testing import BenchAnswer, ServiceBench
from orderwright.services.order.manifest import assemble
from orderwright.services.order.tables import orders

BODY = {"items": [{"product_id": "a", "quantity": 2}]}
KEY = {"idempotency-key": "today"}
SOON_S = 10.0


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceBench]:
    monkeypatch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "1000")
    async with ServiceBench.open(assemble, "order", tmp_path) as opened:
        await opened.hear(ProductCreated(product_id="a", name="A", price=Decimal("10.00"), quantity=5))
        yield opened


async def waiting(
    bench: ServiceBench, headers: dict[str, str] | None = None
) -> tuple["asyncio.Task[BenchAnswer]", str]:
    """A request that waits for its stock, and its order's id."""
    request = asyncio.create_task(bench.request("POST", "/orders", BODY, headers=headers))
    async with asyncio.timeout(SOON_S):
        while not (found := await bench.rows(sa.select(orders.c.id))):
            await asyncio.sleep(0)
    return request, found[0]["id"]


async def stored(bench: ServiceBench) -> list[int | None]:
    return [row["status"] for row in await bench.rows(sa.select(idempotency_keys.c.status))]


async def test_the_news_answers_and_is_kept_with_what_it_is_about(bench: ServiceBench) -> None:
    request, order_id = await waiting(bench, KEY)
    assert await stored(bench) == [None]
    await bench.hear(StockReserved(order_id=order_id, items=[]))
    assert await stored(bench) == [201]
    answer = await asyncio.wait_for(request, SOON_S)
    assert (answer.status, answer.json["id"], answer.json["status"]) == (201, order_id, "awaiting_payment")
    await bench.hear(PaymentCompleted(payment_id="p", order_id=order_id))
    again = await bench.request("POST", "/orders", BODY, headers=KEY)
    assert (again.status, again.json) == (201, answer.json)


async def test_a_refusal_answers_too_and_without_a_key_nothing_is_kept(bench: ServiceBench) -> None:
    request, order_id = await waiting(bench)
    await bench.hear(StockReservationFailed(order_id=order_id, items=[], reason="Insufficient inventory for a"))
    answer = await asyncio.wait_for(request, SOON_S)
    assert (answer.status, answer.json["order_id"]) == (400, order_id)
    assert answer.json["type"].endswith("/insufficient-inventory")
    assert await stored(bench) == []


async def test_news_that_is_rolled_back_answers_nobody(bench: ServiceBench, monkeypatch: pytest.MonkeyPatch) -> None:
    request, order_id = await waiting(bench, KEY)
    news = StockReserved(order_id=order_id, items=[])
    with monkeypatch.context() as patched:
        patched.setattr("orderwright.kernel.outbox.append", fail)
        await bench.hear(news)
    assert (await stored(bench), request.done()) == ([None], False)
    bench.clock.advance(60)
    assert await bench.retry_kept()
    assert (await asyncio.wait_for(request, SOON_S)).status == 201


def fail(*_: Any, **__: Any) -> None:
    raise ArithmeticError


async def test_whose_patience_is_over_is_answered_that_and_hears_no_more(bench: ServiceBench) -> None:
    request, order_id = await waiting(bench, KEY)
    async with asyncio.timeout(SOON_S):
        while not request.done():
            bench.clock.advance(100)
            await asyncio.sleep(0.01)
    answer = request.result()
    assert (answer.status, answer.json["status"]) == (202, "pending")
    await bench.hear(StockReserved(order_id=order_id, items=[]))
    again = await bench.request("POST", "/orders", BODY, headers=KEY)
    assert (again.status, again.json) == (202, answer.json)


async def test_patience_begins_with_the_request_and_not_when_payment_has_been_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "1000")
    payment = FastAPI()
    async with ServiceBench.open(assemble, "order", tmp_path, peers={"payment": payment}) as bench:

        @payment.post("/payment-methods")
        def take_a_long_time(body: dict[str, Any]) -> dict[str, Any]:
            bench.clock.advance(1001)
            return {"results": [{"order_id": wish["order_id"], "ok": True} for wish in body["items"]]}

        await bench.hear(ProductCreated(product_id="a", name="A", price=Decimal("10.00"), quantity=5))
        asking = bench.request("POST", "/orders", {**BODY, "payment_method": {"token": "tok_visa"}})
        answer = await asyncio.wait_for(asking, SOON_S)
        assert (answer.status, answer.json["status"]) == (202, "pending")


async def test_of_two_answers_the_first_one_counts(bench: ServiceBench) -> None:
    claim, first, second = Claim("me", "k", "f"), Answer(201, b'{"first":1}'), Answer(202, b'{"second":2}')
    other = Claim("you", "k", "f")
    await bench.do(lambda uow: idempotency.claim(uow, [claim, other]))
    write = bench.runtime.database.write
    assert await write(lambda connection: idempotency.stored(connection, [(claim, first)])) == [first]
    both = [(other, second), (claim, second)]
    assert await write(lambda connection: idempotency.stored(connection, both)) == [second, first]
    assert await bench.do(lambda uow: idempotency.claim(uow, [claim, other])) == [first, second]
