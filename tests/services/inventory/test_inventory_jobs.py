"""What the inventory does by the clock: ends reservations, and tells levels."""

import pytest

from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel.testing import ServiceBench
from orderwright.services.inventory.actions import settle, stock
from tests.services.inventory.goods import STAFF, assert_adds_up, kinds, level, order, paid, product


async def told(bench: ServiceBench) -> list[tuple[str, int]]:
    """The levels that are told now."""
    bench.take_said()
    await bench.run_job("publish-levels")
    return [(event.product_id, event.quantity) for event in bench.take_said() if isinstance(event, StockUpdated)]


async def test_reservations_expire_when_their_time_is_over_and_not_before(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3), order("o", ("a", 2)))
    bench.clock.advance(20 * 60 - 1)
    assert not await bench.run_job("expire-reservations")
    bench.clock.advance(1)
    assert await bench.run_job("expire-reservations")
    assert not await bench.run_job("expire-reservations")
    assert kinds(bench) == [("StockReserved", "o"), ("StockReleased", "o")]
    assert await level(bench, "a") == (3, 0)


async def test_many_reservations_expire_in_small_batches(bench: ServiceBench) -> None:
    await bench.hear(product("a", 250))
    for start in range(0, 250, 100):
        await bench.hear(*(order(f"o-{n}", ("a", 1)) for n in range(start, min(start + 100, 250))))
    bench.clock.advance(21 * 60)
    ended = [await bench.do(settle.expire) for _ in range(4)]
    assert ended == [100, 100, 50, 0]
    assert await level(bench, "a") == (250, 0)
    await assert_adds_up(bench)


async def test_a_job_that_dies_on_the_way_has_done_nothing_and_is_done_again(bench: ServiceBench) -> None:
    await bench.hear(product("a", 3), order("o", ("a", 2)))
    bench.clock.advance(21 * 60)

    def dies(uow: object) -> None:
        settle.expire(uow)  # type: ignore[arg-type]
        stock.publish_levels(uow)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    bench.take_said()
    with pytest.raises(RuntimeError, match="killed"):
        await bench.do(dies)
    assert await level(bench, "a") == (3, 2)
    await bench.run_job("expire-reservations")
    assert kinds(bench) == [("StockReleased", "o")]
    assert await told(bench) == [("a", 3)]


async def test_levels_are_told_after_each_kind_of_change_and_only_then(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5), product("b", 0))
    assert await told(bench) == [("a", 5), ("b", 0)]
    await bench.hear(order("o", ("a", 2)))
    assert await told(bench) == [("a", 3)]
    await bench.hear(paid("o"))
    assert await told(bench) == []
    await bench.request("PUT", "/products/a/stock", {"adjust": -1}, roles=STAFF)
    assert await told(bench) == [("a", 2)]
    await bench.request("PUT", "/products/a/stock", {"adjust": 0}, roles=STAFF)
    assert await told(bench) == []


async def test_what_lies_in_a_closed_warehouse_is_not_told_and_cannot_be_had(bench: ServiceBench) -> None:
    await bench.hear(product("a", 5))
    await bench.request("POST", "/warehouses", {"id": "north", "name": "North"}, roles=STAFF)
    await bench.request("PUT", "/products/a/stock", {"on_hand": 4, "warehouse_id": "north"}, roles=STAFF)
    assert await told(bench) == [("a", 9)]
    assert (await bench.request("PUT", "/warehouses/main", {"active": False}, roles=STAFF)).status == 200
    assert await told(bench) == [("a", 4)]
    shown = (await bench.request("GET", "/products/a/stock", roles=())).json
    assert (shown["on_hand"], shown["available"]) == (9, 4)
    assert {w["warehouse_id"]: w["available"] for w in shown["warehouses"]} == {"main": 0, "north": 4}
    await bench.hear(order("o", ("a", 5)))
    assert kinds(bench) == [("StockReservationFailed", "o")]
    await bench.request("PUT", "/warehouses/main", {"active": True}, roles=STAFF)
    assert await told(bench) == [("a", 9)]
