"""What the catalog says of products, in any order and more than once."""

from datetime import timedelta

from orderwright.contracts.catalog import ProductDeleted, ProductUpdated
from orderwright.kernel.messages import Event, Message, encode
from orderwright.kernel.testing import ServiceBench
from tests.services.inventory.goods import PRICE, STAFF, assert_adds_up, kinds, level, order, paid, product


def said_at(bench: ServiceBench, event: Event, after_s: float) -> Message:
    """`event` as the catalog says it so many seconds from now, to be delivered whenever the test likes."""
    time = bench.clock.now() + timedelta(seconds=after_s)
    return encode(event, id=bench.ids.new(), source="/catalog", time=time, traceparent=None)


def updated(quantity: int) -> ProductUpdated:
    return ProductUpdated(product_id="a", price=PRICE, quantity=quantity)


async def test_the_same_quantity_said_in_two_messages_does_not_bring_back_what_was_sold(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    once, again = said_at(bench, updated(9), 1), said_at(bench, updated(9), 1)
    await bench.hear_again(once)
    await bench.hear(order("o", ("a", 4)))
    await bench.hear(paid("o"))
    await bench.hear_again(again)
    assert await level(bench, "a") == (5, 0)
    await assert_adds_up(bench)


async def test_of_two_words_in_the_wrong_order_the_newer_one_stands(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    await bench.hear_again(said_at(bench, updated(9), 2), said_at(bench, updated(7), 1))
    assert await level(bench, "a") == (9, 0)
    await bench.hear_again(said_at(bench, updated(3), 1))
    assert await level(bench, "a") == (9, 0)


async def test_an_update_that_comes_before_the_product_is_not_undone_by_it(bench: ServiceBench) -> None:
    creation = said_at(bench, product("a", 5), 0)
    await bench.hear_again(said_at(bench, updated(9), 1))
    await bench.hear_again(creation)
    assert await level(bench, "a") == (9, 0)


async def test_a_price_that_comes_before_the_product_leaves_room_for_its_quantity(bench: ServiceBench) -> None:
    creation = said_at(bench, product("a", 5), 0)
    await bench.hear_again(said_at(bench, ProductUpdated(product_id="a", price=PRICE), 1))
    await bench.hear_again(creation)
    assert await level(bench, "a") == (5, 0)


async def test_that_a_product_was_created_adds_nothing_to_stock_that_staff_have_counted(bench: ServiceBench) -> None:
    await bench.hear(ProductUpdated(product_id="a", price=PRICE))
    assert (await bench.request("PUT", "/products/a/stock", {"on_hand": 10}, roles=STAFF)).status == 200
    await bench.hear(product("a", 5))
    assert await level(bench, "a") == (10, 0)


async def test_many_words_on_many_products_in_one_batch_each_find_their_product(bench: ServiceBench) -> None:
    await bench.hear(*(product(f"p-{n}", n) for n in range(40)), product("p-7", 100))
    assert [await level(bench, f"p-{n}") for n in (0, 7, 39)] == [(0, 0), (7, 0), (39, 0)]
    await assert_adds_up(bench)


async def test_a_deletion_that_comes_late_still_deletes(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    gone = said_at(bench, ProductDeleted(product_id="a"), 1)
    await bench.hear_again(said_at(bench, updated(9), 2))
    await bench.hear_again(gone)
    await bench.hear(order("o", ("a", 1)))
    assert kinds(bench) == [("StockReservationFailed", "o")]
    assert (await bench.request("GET", "/products/a/stock", roles=())).status == 404


async def test_a_deletion_that_comes_before_the_product_keeps_it_away(bench: ServiceBench) -> None:
    creation = said_at(bench, product("a", 5), 0)
    await bench.hear_again(said_at(bench, ProductDeleted(product_id="a"), 1))
    await bench.hear_again(creation)
    await bench.hear(order("o", ("a", 1)))
    assert kinds(bench) == [("StockReservationFailed", "o")]


async def test_what_is_set_aside_of_a_deleted_product_can_still_be_bought(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), order("o", ("a", 2)))
    await bench.hear(ProductDeleted(product_id="a"))
    await bench.hear(paid("o"))
    assert kinds(bench)[-1] == ("StockDeducted", "o")
    await assert_adds_up(bench)


async def test_a_negative_quantity_is_kept_as_a_dead_letter_and_holds_up_nobody(bench: ServiceBench) -> None:
    await bench.hear(product("a", -1), product("b", 2))
    assert await level(bench, "b") == (2, 0)
    assert (await bench.request("GET", "/products/a/stock", roles=())).status == 404
