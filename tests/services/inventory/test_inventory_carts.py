"""Soft reservations: what lies in a cart is kept for its owner for a while."""

import sqlalchemy as sa

from orderwright.contracts.carts import CartItemAdded
from orderwright.kernel.testing import ServiceBench
from orderwright.services.inventory.tables import reservations
from tests.services.inventory.goods import assert_adds_up, cancelled, kinds, level, order, product


def added(product_id: str, quantity: int, user: str = "u") -> CartItemAdded:
    return CartItemAdded(user_id=user, product_id=product_id, quantity=quantity)


async def test_carts_set_nothing_aside_unless_that_is_switched_on(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3))
    await bench.hear(added("a", 2))
    assert await level(bench, "a") == (3, 0)
    assert await bench.rows(sa.select(reservations)) == []


async def test_a_cart_gets_what_is_there_and_many_in_one_batch_share_it(soft: ServiceBench) -> None:
    await soft.hear(product("a", 3))
    await soft.hear(added("a", 2), added("a", 5, "v"), added("a", 1, "w"), added("unknown", 1))
    assert await level(soft, "a") == (3, 3)
    assert kinds(soft) == []
    await assert_adds_up(soft)


async def test_in_one_batch_a_cart_keeps_its_goods_from_the_orders_before_its_owners(soft: ServiceBench) -> None:
    await soft.hear(product("a", 2))
    await soft.hear(added("a", 2))
    await soft.hear(order("theirs", ("a", 2), user="v"), order("mine", ("a", 2)))
    assert kinds(soft) == [("StockReservationFailed", "theirs"), ("StockReserved", "mine")]
    assert await level(soft, "a") == (2, 2)
    await assert_adds_up(soft)


async def test_what_an_order_leaves_of_its_cart_is_free_for_the_next_order_of_the_batch(soft: ServiceBench) -> None:
    await soft.hear(product("a", 3))
    await soft.hear(added("a", 3))
    await soft.hear(order("mine", ("a", 1)), order("theirs", ("a", 2), user="v"))
    assert kinds(soft) == [("StockReserved", "mine"), ("StockReserved", "theirs")]
    await assert_adds_up(soft)


async def test_two_orders_of_one_person_in_one_batch_free_the_cart_once(soft: ServiceBench) -> None:
    await soft.hear(product("a", 3))
    await soft.hear(added("a", 2))
    await soft.hear(order("one", ("a", 2)), order("two", ("a", 2)))
    assert kinds(soft) == [("StockReserved", "one"), ("StockReservationFailed", "two")]
    await assert_adds_up(soft)


async def test_a_cart_that_is_freed_by_an_order_that_fails_is_told_to_the_world(soft: ServiceBench) -> None:
    await soft.hear(product("a", 2), product("b", 0))
    await soft.hear(added("a", 2))
    woken: set[str] = set()
    soft.runtime.units.after_commit.append(lambda uow: woken.update(uow.jobs_woken))
    await soft.hear(order("mine", ("a", 1), ("b", 1)))
    assert await level(soft, "a") == (2, 0)
    assert "publish-levels" in woken


async def test_an_order_leaves_the_other_products_of_the_cart_alone(soft: ServiceBench) -> None:
    await soft.hear(product("a", 2), product("b", 2))
    await soft.hear(added("a", 2), added("b", 2))
    await soft.hear(order("mine", ("a", 1)))
    assert (await level(soft, "a"), await level(soft, "b")) == ((2, 1), (2, 2))
    await soft.hear(cancelled("mine"))
    assert (await level(soft, "a"), await level(soft, "b")) == ((2, 0), (2, 2))
    await assert_adds_up(soft)


async def test_a_cart_that_is_forgotten_expires_without_a_word(soft: ServiceBench) -> None:
    await soft.hear(product("a", 2))
    await soft.hear(added("a", 2))
    soft.clock.advance(601)
    assert await soft.run_job("expire-reservations")
    assert not await soft.run_job("expire-reservations")
    assert kinds(soft) == []
    assert await level(soft, "a") == (2, 0)
