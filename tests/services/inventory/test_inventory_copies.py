"""Several copies of the inventory hear of one thing at the same moment."""

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.catalog import ProductCreated, ProductDeleted
from orderwright.kernel.messages import encode
from orderwright.kernel.telemetry import configure_logs
from orderwright.services.inventory.manifest import assemble
from orderwright.services.inventory.tables import products
from tests.crossing import behind_a_handler, crossing, two_copies
from tests.services.inventory.goods import assert_adds_up, cancelled, kinds, level, order, paid, product

CREATED = ProductCreated(product_id="p", name="Mug", price=Decimal("10.00"), quantity=5)


@pytest.mark.parametrize("later_first", [False, True])
async def test_a_new_product_that_is_deleted_at_once_stays_deleted(
    tmp_path: Path, database_url: str, later_first: bool
) -> None:
    async with two_copies(assemble, "inventory", tmp_path, database_url) as (first, second):
        second.clock.advance(60)
        works = [first.hear(CREATED), second.hear(ProductDeleted(product_id="p"))]
        await crossing(database_url, "inventory", "products", *(reversed(works) if later_first else works))
        [known] = await first.rows(sa.select(products))
    assert known["deleted"]


async def test_the_last_piece_goes_to_one_of_two_orders_that_want_it_at_once(tmp_path: Path, database_url: str) -> None:
    async with two_copies(assemble, "inventory", tmp_path, database_url) as (first, second):
        await first.hear(product("a", 1))
        works = [first.hear(order("o1", ("a", 1))), second.hear(order("o2", ("a", 1)))]
        await crossing(database_url, "inventory", "stock", *works)
        assert sorted(kinds(copy)[-1][0] for copy in (first, second)) == ["StockReservationFailed", "StockReserved"]
        assert await level(first, "a") == (1, 1)
        await assert_adds_up(first)


@pytest.mark.parametrize("cancelled_first", [False, True])
async def test_an_order_that_is_paid_and_cancelled_at_once_keeps_nothing(
    tmp_path: Path, database_url: str, cancelled_first: bool
) -> None:
    async with two_copies(assemble, "inventory", tmp_path, database_url) as (first, second):
        await first.hear(product("a", 3), order("o", ("a", 2)))
        works = [first.hear(paid("o")), second.hear(cancelled("o"))]
        await crossing(database_url, "inventory", "stock", *(reversed(works) if cancelled_first else works))
        assert await level(first, "a") == (3, 0)
        await assert_adds_up(first)
        assert ("StockReleased", "o") in kinds(second)


async def test_an_order_that_is_cancelled_while_its_goods_are_set_aside_keeps_nothing(
    tmp_path: Path, database_url: str
) -> None:
    async with two_copies(assemble, "inventory", tmp_path, database_url) as (first, second):
        await first.hear(product("a", 3))
        works = [second.hear(cancelled("o")), first.hear(order("o", ("a", 2)))]
        await crossing(database_url, "inventory", "reservations", *works)
        # If the order was quicker, its cancellation found out when it had planned already, and is tried again.
        second.clock.advance(60)
        await second.retry_kept()
        assert await level(first, "a") == (3, 0)
        await assert_adds_up(first)


async def test_who_waits_for_another_to_handle_a_message_holds_nothing_of_its_goods(
    tmp_path: Path, database_url: str
) -> None:
    async with two_copies(assemble, "inventory", tmp_path, database_url) as (bench, _):
        await bench.hear(product("a", 3))
        message = encode(order("o", ("a", 2)), id="m-1", source="/bench", time=bench.clock.now())
        hearing = bench.hear_again(message)
        await behind_a_handler(database_url, "inventory", "m-1", hearing, "SELECT on_hand FROM stock FOR UPDATE")
        assert await level(bench, "a") == (3, 2)
        await assert_adds_up(bench)


async def test_what_happens_to_orders_every_day_needs_no_locks(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with two_copies(assemble, "inventory", tmp_path, database_url) as (bench, _):
        await bench.hear(product("a", 9), product("b", 9))
        configure_logs(form="json", level="debug")
        await bench.hear(order("o1", ("a", 2), ("b", 1)), order("o2", ("a", 1)))
        await bench.hear(paid("o1"), order("o3", ("a", 1)), paid("unknown"))
        await bench.hear(order("o4", ("b", 2)), paid("o4"))
        quiet = capsys.readouterr().err
        await bench.hear(paid("o2"), cancelled("o1"))
        cancelling = capsys.readouterr().err
        assert (await level(bench, "a"), await level(bench, "b")) == ((8, 1), (7, 0))
        await assert_adds_up(bench)
    assert "done_again_with_locks" not in quiet
    assert cancelling.count("done_again_with_locks") == 1
