"""An order is the fold of its history, whatever order its messages come in; and it always ends."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from orderwright.contracts.carts import CartCheckedOut, CartLine
from orderwright.contracts.catalog import ProductCreated, ProductDeleted, ProductUpdated
from orderwright.contracts.inventory import StockDeducted, StockReleased, StockReservationFailed, StockReserved
from orderwright.contracts.orders import OrderCancelled, OrderCompleted, OrderCreated
from orderwright.contracts.payments import PaymentCompleted, PaymentFailed, PaymentInitiated, PaymentRefunded
from orderwright.kernel.testing import ServiceBench
from orderwright.services.order import actions, store
from orderwright.services.order.domain import TRANSITIONS, OrderStatus, rebuild
from orderwright.services.order.manifest import assemble


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceBench]:
    monkeypatch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "0")
    know_nothing = {"catalog": FastAPI(), "payment": FastAPI()}
    async with ServiceBench.open(assemble, "order", tmp_path, peers=know_nothing) as opened:
        await opened.hear(ProductCreated(product_id="a", name="A", price=Decimal("10.00"), quantity=5))
        yield opened


async def placed(bench: ServiceBench, **more: Any) -> str:
    body = {"items": [{"product_id": "a", "quantity": 2}], **more}
    answer = await bench.request("POST", "/orders", body)
    assert answer.status == 202, answer.json
    return str(answer.json["id"])


def story(order_id: str) -> list[Any]:
    return [
        StockReserved(order_id=order_id, items=[]),
        PaymentInitiated(payment_id="p", order_id=order_id, user_id="customer-1", amount=Decimal("20.00")),
        PaymentCompleted(payment_id="p", order_id=order_id),
        StockDeducted(order_id=order_id, items=[]),
    ]


async def order_of(bench: ServiceBench, order_id: str) -> dict[str, Any]:
    order: dict[str, Any] = (await bench.request("GET", f"/orders/{order_id}")).json
    return order


async def test_whatever_order_its_messages_come_in_the_order_completes_once(bench: ServiceBench) -> None:
    for messages in itertools.permutations(range(4)):
        order_id = await placed(bench)
        events = story(order_id)
        bench.take_said()
        for number in messages:
            await bench.hear(events[number])
            await bench.hear(events[number])
        assert [type(event) for event in bench.take_said()] == [OrderCompleted]
        assert (await order_of(bench, order_id))["status"] == "completed"


async def test_all_of_it_in_one_batch_is_the_same(bench: ServiceBench) -> None:
    orders = [await placed(bench) for _ in range(5)]
    await bench.hear(*(event for order_id in orders for event in story(order_id)))
    assert {(await order_of(bench, order_id))["status"] for order_id in orders} == {"completed"}


async def test_projections_are_what_their_history_says(bench: ServiceBench) -> None:
    order_id = await placed(bench, shipping_address={"line1": "x", "city": "y", "country": "DE"})
    await bench.hear(*story(order_id), StockReleased(order_id=order_id, items=[]))
    before = await bench.runtime.database.read(lambda connection: store.see(connection, [order_id])[order_id])
    history = await bench.runtime.database.read(lambda connection: store.history(connection, order_id))
    assert rebuild(order_id, [(fact, at) for _, fact, at in history]) == before
    assert [version for version, _, _ in history] == list(range(1, before.version + 1))
    assert not await bench.do(lambda uow: actions.rebuild_projection(uow, order_id))
    assert await bench.runtime.database.read(lambda connection: store.see(connection, [order_id])[order_id]) == before


async def test_a_failed_payment_cancels_and_waits_for_the_stock(bench: ServiceBench) -> None:
    order_id = await placed(bench)
    await bench.hear(StockReserved(order_id=order_id, items=[]))
    await bench.hear(PaymentFailed(payment_id="p", order_id=order_id, reason="card_declined"))
    cancelled = [event for event in bench.take_said() if isinstance(event, OrderCancelled)]
    assert [event.reason for event in cancelled] == ["payment_failed"]
    saga = (await bench.request("GET", f"/orders/{order_id}/saga")).json
    assert saga["status"] == "compensating"
    await bench.hear(StockReleased(order_id=order_id, items=[]))
    saga = (await bench.request("GET", f"/orders/{order_id}/saga")).json
    assert (saga["status"], saga["due_at"]) == ("compensated", None)


async def test_an_undo_is_asked_for_again_until_it_is_confirmed(bench: ServiceBench) -> None:
    order_id = await placed(bench)
    await bench.hear(StockReserved(order_id=order_id, items=[]))
    await bench.request("DELETE", f"/orders/{order_id}")
    bench.take_said()
    for _ in range(3):
        bench.clock.advance(700)
        await bench.run_job("drive-sagas")
    assert [type(event) for event in bench.take_said()] == [OrderCancelled] * 3
    [reserve, *_] = (await bench.request("GET", f"/orders/{order_id}/saga")).json["steps"]
    assert (reserve["undoing"], reserve["undo_attempts"]) == (True, 4)
    await bench.hear(StockReleased(order_id=order_id, items=[]))
    bench.clock.advance(700)
    await bench.run_job("drive-sagas")
    assert bench.take_said() == []


@pytest.mark.parametrize(("reserved", "reason"), [(False, "reservation_timeout"), (True, "payment_timeout")])
async def test_what_takes_too_long_is_cancelled(bench: ServiceBench, reserved: bool, reason: str) -> None:
    order_id = await placed(bench)
    if reserved:
        await bench.hear(StockReserved(order_id=order_id, items=[]))
    bench.clock.advance(899)
    await bench.run_job("drive-sagas")
    assert (await order_of(bench, order_id))["status"] != "cancelled"
    bench.clock.advance(2)
    await bench.run_job("drive-sagas")
    assert (await order_of(bench, order_id))["cancel_reason"] == reason


async def test_money_that_comes_after_the_cancellation_is_seen_and_seen_to_go_back(bench: ServiceBench) -> None:
    order_id = await placed(bench)
    await bench.hear(StockReserved(order_id=order_id, items=[]))
    await bench.request("DELETE", f"/orders/{order_id}")
    await bench.hear(StockReleased(order_id=order_id, items=[]), PaymentCompleted(payment_id="p", order_id=order_id))
    late = await order_of(bench, order_id)
    assert (late["status"], late["payment_status"]) == ("cancelled", "paid")
    part = PaymentRefunded(payment_id="p", order_id=order_id, amount=Decimal("5.00"), refunded_total=Decimal("5.00"))
    await bench.hear(part)
    assert (await bench.request("GET", f"/orders/{order_id}/saga")).json["status"] == "compensating"
    rest = PaymentRefunded(payment_id="p", order_id=order_id, amount=Decimal("15.00"), refunded_total=Decimal("20.00"))
    await bench.hear(rest)
    assert (await bench.request("GET", f"/orders/{order_id}/saga")).json["status"] == "compensated"
    assert (await order_of(bench, order_id))["payment_status"] == "refunded"


async def test_a_refund_that_is_heard_before_its_payment_counts_as_the_undo(bench: ServiceBench) -> None:
    order_id = await placed(bench)
    await bench.hear(StockReserved(order_id=order_id, items=[]))
    await bench.request("DELETE", f"/orders/{order_id}")
    refunded = PaymentRefunded(payment_id="p", order_id=order_id, amount=Decimal("20.00"))
    await bench.hear(StockReleased(order_id=order_id, items=[]), refunded)
    bench.take_said()
    await bench.hear(PaymentCompleted(payment_id="p", order_id=order_id))
    saga = (await bench.request("GET", f"/orders/{order_id}/saga")).json
    assert (saga["status"], saga["due_at"]) == ("compensated", None)
    assert bench.take_said() == []
    assert (await order_of(bench, order_id))["payment_status"] == "refunded"


async def test_an_order_that_staff_refunded_in_full_can_be_cancelled(bench: ServiceBench) -> None:
    order_id = await placed(bench)
    await bench.hear(StockReserved(order_id=order_id, items=[]), PaymentCompleted(payment_id="p", order_id=order_id))
    await bench.hear(PaymentRefunded(payment_id="p", order_id=order_id, amount=Decimal("20.00")))
    cancelled = await bench.request("DELETE", f"/orders/{order_id}")
    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    await bench.hear(StockReleased(order_id=order_id, items=[]))
    saga = (await bench.request("GET", f"/orders/{order_id}/saga")).json
    assert (saga["status"], saga["due_at"]) == ("compensated", None)


async def test_goods_that_are_gone_after_payment_undo_the_payment(bench: ServiceBench) -> None:
    order_id = await placed(bench)
    await bench.hear(StockReserved(order_id=order_id, items=[]), PaymentCompleted(payment_id="p", order_id=order_id))
    await bench.hear(StockReservationFailed(order_id=order_id, items=[], reason="expired"))
    assert (await order_of(bench, order_id))["cancel_reason"] == "insufficient_inventory"


async def test_a_checked_out_cart_becomes_one_order_with_its_id(bench: ServiceBench) -> None:
    cart = CartCheckedOut(user_id="customer-1", cart_id=bench.ids.new(), items=[CartLine(product_id="a", quantity=3)])
    await bench.hear(cart)
    await bench.hear(cart)
    created = [event for event in bench.take_said() if isinstance(event, OrderCreated)]
    assert [(event.order_id, event.total_amount) for event in created] == [(cart.cart_id, Decimal("30.00"))]


async def test_a_cart_waits_for_a_price_and_then_is_cancelled_rather_than_lost(bench: ServiceBench) -> None:
    cart = CartCheckedOut(user_id="customer-1", cart_id=bench.ids.new(), items=[CartLine(product_id="z", quantity=1)])
    other = CartCheckedOut(user_id="customer-1", cart_id=bench.ids.new(), items=[CartLine(product_id="b", quantity=1)])
    await bench.hear(cart, other)
    assert (await bench.request("GET", f"/orders/{cart.cart_id}")).status == 404
    await bench.hear(ProductCreated(product_id="b", name="B", price=Decimal("1.00"), quantity=1))
    for _ in range(3):
        bench.clock.advance(40)
        await bench.retry_kept()
    assert (await order_of(bench, other.cart_id))["total_amount"] == "1.00"
    lost = await order_of(bench, cart.cart_id)
    assert (lost["status"], lost["cancel_reason"]) == ("cancelled", "unknown_product")


async def test_old_news_of_a_price_is_dropped_and_a_deleted_product_is_unknown(bench: ServiceBench) -> None:
    bench.clock.advance(10)
    newer = await bench.hear(ProductUpdated(product_id="a", price=Decimal("12.00")))
    bench.clock.advance(-20)
    await bench.hear(ProductUpdated(product_id="a", price=Decimal("9.00")))
    bench.clock.advance(20)
    stale = {"items": [{"product_id": "a", "quantity": 1, "unit_price": "10.00"}]}
    assert (await bench.request("POST", "/orders", stale)).json["unit_price"] == "12.00"
    await bench.hear(ProductDeleted(product_id="a"))
    await bench.hear_again(*newer)
    assert (await bench.request("POST", "/orders", stale)).status == 400


async def test_requests_that_arrive_together_each_have_their_own_answer(
    bench: ServiceBench,
) -> None:
    bodies = [{"items": [{"product_id": product, "quantity": 1}]} for product in ("a", "nothing", "a")]
    answers = await asyncio.gather(*(bench.request("POST", "/orders", body) for body in bodies))
    assert [answer.status for answer in answers] == [202, 400, 202]


async def test_the_same_reference_of_one_caller_is_one_order(bench: ServiceBench) -> None:
    body = {"id": "ext-1", "amount": "5.00"}
    answers = await asyncio.gather(*(bench.request("POST", "/orders", body, roles=("staff",)) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409]
    assert (await bench.request("POST", "/orders", body, roles=("staff",), caller="other")).status == 201


async def test_what_speaks_of_an_unknown_order_is_dropped(bench: ServiceBench) -> None:
    await bench.hear(*story("01a1fb6f-5d7f-771b-ac17-8b0da7726147"), StockReserved(order_id="456", items=[]))
    assert bench.take_said() == []


def test_the_table_of_transitions_ends() -> None:
    assert TRANSITIONS[OrderStatus.CANCELLED] == frozenset()
    assert set(TRANSITIONS) == set(OrderStatus)
    assert all(OrderStatus.PENDING not in moves for moves in TRANSITIONS.values())


async def test_an_order_that_payment_has_not_heard_of_is_to_be_changed_a_moment_later(bench: ServiceBench) -> None:
    order_id = await placed(bench)
    await bench.hear(StockReserved(order_id=order_id, items=[]))
    answer = await bench.request("PUT", f"/orders/{order_id}", {"items": [{"product_id": "a", "quantity": 1}]})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "payment service has not heard of the order yet" in answer.json["detail"]
