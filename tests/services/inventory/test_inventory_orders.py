"""What orders and payments do to stock when messages come early, late, twice or together."""

import pytest
import sqlalchemy as sa

from orderwright.contracts.inventory import StockReleased, StockReservationFailed, StockReserved
from orderwright.contracts.orders import OrderCompleted
from orderwright.contracts.payments import PaymentFailed
from orderwright.kernel.testing import ServiceBench
from orderwright.services.inventory.domain import DEFAULT_WAREHOUSE, StockMoved, Take
from orderwright.services.inventory.store import moving
from orderwright.services.inventory.tables import reservations, stock
from tests.services.inventory.goods import (
    STAFF,
    assert_adds_up,
    cancelled,
    kinds,
    level,
    order,
    paid,
    product,
    reservation_of,
)


def unpaid(order_id: str) -> PaymentFailed:
    return PaymentFailed(payment_id=f"p-{order_id}", order_id=order_id, reason="declined")


async def test_an_order_that_is_said_twice_is_answered_twice_and_served_once(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(order("o", ("a", 1), ("a", 1)), order("o", ("a", 1), ("a", 1)))
    await bench.hear(order("o", ("a", 1), ("a", 1)))
    said = [event for event in bench.take_said() if isinstance(event, StockReserved)]
    assert [[(line.product_id, line.quantity) for line in event.items] for event in said] == [[("a", 2)]] * 2
    assert await level(bench, "a") == (3, 2)


async def test_the_same_message_twice_is_heard_once(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    messages = await bench.hear(order("o", ("a", 1)))
    await bench.hear_again(*messages, *messages)
    assert kinds(bench) == [("StockReserved", "o")]


async def test_an_order_of_an_amount_needs_no_goods(bench: ServiceBench) -> None:
    await bench.hear(order("o"))
    await bench.hear(paid("o"))
    assert kinds(bench) == []
    assert await bench.rows(sa.select(reservations)) == []


async def test_an_order_of_unknown_goods_fails_and_names_all_that_is_short(bench: ServiceBench) -> None:
    await bench.hear(product("product-789", 50))
    await bench.hear(order("o", ("product-789", 1000), ("nowhere", 1)))
    [failed] = [event for event in bench.take_said() if isinstance(event, StockReservationFailed)]
    assert failed.reason == (
        "Insufficient inventory for product-789: 1000 requested, 50 available; "
        "Insufficient inventory for nowhere: 1 requested, 0 available"
    )


async def test_one_bad_order_of_a_batch_holds_up_no_other(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(
        order("good", ("a", 1)), order("bad", ("a", -1)), order("huge", ("a", 2**63 - 1), ("a", 2**63 - 1))
    )
    assert kinds(bench) == [("StockReserved", "good"), ("StockReservationFailed", "huge")]
    assert await level(bench, "a") == (3, 1)


async def test_order_payment_and_cancellation_in_one_batch_end_with_the_goods_back(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(order("o", ("a", 2)), paid("o"), cancelled("o"))
    assert kinds(bench) == [("StockReserved", "o"), ("StockDeducted", "o"), ("StockReleased", "o")]
    assert await level(bench, "a") == (3, 0)
    await assert_adds_up(bench)


async def test_every_cancellation_of_a_batch_is_answered_also_of_the_same_unknown_order(bench: ServiceBench) -> None:
    await bench.hear(cancelled("x"), cancelled("y"), cancelled("x"))
    said = [event for event in bench.take_said() if isinstance(event, StockReleased)]
    assert [(event.order_id, event.items) for event in said] == [("x", []), ("y", []), ("x", [])]
    assert len(await bench.rows(sa.select(reservations))) == 2


async def test_a_failed_payment_frees_the_goods_once(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(order("o", ("a", 2)))
    await bench.hear(unpaid("o"))
    await bench.hear(unpaid("o"))
    assert kinds(bench) == [("StockReserved", "o"), ("StockReleased", "o")]
    assert await level(bench, "a") == (3, 0)
    await bench.hear(paid("o"))
    assert await level(bench, "a") == (3, 0)


async def test_a_failed_payment_before_its_order_leaves_the_order_free_to_come(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(unpaid("o"))
    assert kinds(bench) == []
    await bench.hear(order("o", ("a", 1)))
    assert kinds(bench) == [("StockReserved", "o")]


async def test_a_failed_payment_puts_nothing_back_that_has_left(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3), order("o", ("a", 2)))
    await bench.hear(paid("o"))
    await bench.hear(unpaid("o"))
    assert await level(bench, "a") == (1, 0)


async def test_a_completed_order_makes_sure_of_a_deduction_that_was_missed(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3), order("o", ("a", 2)))
    completed = OrderCompleted(order_id="o", payment_id="p-o")
    await bench.hear(completed)
    await bench.hear(completed, paid("o"))
    assert kinds(bench) == [("StockReserved", "o"), ("StockDeducted", "o")]
    assert await level(bench, "a") == (1, 0)


async def test_a_payment_of_nobody_we_know_changes_nothing(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(paid("o"), OrderCompleted(order_id="p", payment_id="p"))
    assert kinds(bench) == []


async def test_expired_orders_that_are_paid_together_share_what_is_left(bench: ServiceBench) -> None:
    await bench.hear(product("a", 4), order("x", ("a", 2)), order("y", ("a", 2)))
    bench.clock.advance(21 * 60)
    await bench.run_job("expire-reservations")
    await bench.hear(order("z", ("a", 1)))
    bench.take_said()
    await bench.hear(paid("x"), paid("y"))
    said = bench.take_said()
    [failed] = [event for event in said if isinstance(event, StockReservationFailed)]
    assert failed.reason == (
        "The reservation expired before payment. Insufficient inventory for a: 2 requested, 1 available"
    )
    assert [type(event).__name__ for event in said].count("StockDeducted") == 1
    assert await level(bench, "a") == (2, 1)
    await assert_adds_up(bench)


async def test_goods_of_an_expired_order_that_are_retaken_elsewhere_come_back_to_where_they_left(
    bench: ServiceBench,
) -> None:
    await bench.hear(product("a", 2), order("o", ("a", 2)))
    await bench.request("POST", "/warehouses", {"id": "north", "name": "North"}, roles=STAFF)
    await bench.request("PUT", "/products/a/stock", {"on_hand": 2, "warehouse_id": "north"}, roles=STAFF)
    bench.clock.advance(21 * 60)
    await bench.run_job("expire-reservations")
    await bench.hear(order("other", ("a", 1)))
    await bench.hear(paid("o"))
    assert [line["warehouse_id"] for line in (await reservation_of(bench, "o"))["items"]] == ["north"]
    await assert_adds_up(bench)
    await bench.hear(cancelled("o"))
    await assert_adds_up(bench)
    assert await level(bench, "a") == (4, 1)


async def test_an_expired_order_that_is_cancelled_is_not_revived_by_a_late_payment(bench: ServiceBench) -> None:
    await bench.hear(product("a", 2), order("o", ("a", 2)))
    bench.clock.advance(21 * 60)
    await bench.run_job("expire-reservations")
    await bench.hear(cancelled("o"))
    await bench.hear(paid("o"))
    assert await level(bench, "a") == (2, 0)
    assert kinds(bench)[-1] == ("StockReleased", "o")
    assert (await reservation_of(bench, "o"))["status"] == "cancelled"


async def test_a_payment_that_comes_before_the_sweep_still_gets_its_goods(bench: ServiceBench) -> None:
    await bench.hear(product("a", 2), order("o", ("a", 2)))
    bench.clock.advance(21 * 60)
    await bench.hear(paid("o"))
    assert not await bench.run_job("expire-reservations")
    assert await level(bench, "a") == (0, 0)


async def test_a_move_that_does_not_hold_moves_nothing_at_all(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3), product("b", 1))
    takes = [Take("a", DEFAULT_WAREHOUSE, 3), Take("b", DEFAULT_WAREHOUSE, 2)]
    for move in (moving.RESERVE, moving.RELEASE, moving.DEDUCT, moving.DEDUCT_FREE):
        moves = moving.moves_of((move, takes))
        with pytest.raises(StockMoved):
            await bench.do(lambda uow, moves=moves: moving.apply(uow.connection, moves))  # type: ignore[misc]
    elsewhere = moving.moves_of((moving.RESTOCK, [Take("a", "nowhere", 1)]))
    with pytest.raises(StockMoved):
        await bench.do(lambda uow: moving.apply(uow.connection, elsewhere))
    assert (await level(bench, "a"), await level(bench, "b")) == ((3, 0), (1, 0))


@pytest.mark.parametrize("change", [{"reserved": -1}, {"reserved": 4}, {"on_hand": 4}, {"sold": 1}])
async def test_the_database_itself_refuses_stock_that_does_not_add_up(
    bench: ServiceBench, change: dict[str, int]
) -> None:
    await bench.hear(product("a", 3))
    with pytest.raises(sa.exc.IntegrityError):
        await bench.do(lambda uow: uow.connection.execute(sa.update(stock).values(**change)))
    assert await level(bench, "a") == (3, 0)
