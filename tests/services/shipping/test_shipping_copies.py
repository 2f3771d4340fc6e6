"""Two copies of shipping hear of one order at the same moment, and what each of them heard counts."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.orders import OrderCancelled
from orderwright.kernel.messages import Event
from orderwright.services.shipping.manifest import assemble
from orderwright.services.shipping.tables import shipments
from tests.crossing import crossing, two_copies
from tests.services.shipping.test_shipping import CANCELLED, COMPLETED, created

LETS_GO = pytest.mark.parametrize("ended", [COMPLETED, CANCELLED], ids=["completed", "cancelled"])
FIRST = pytest.mark.parametrize("created_first", [True, False], ids=["created first", "ended first"])


@LETS_GO
@FIRST
async def test_a_shipment_knows_whose_it_is_whoever_heard_of_what(
    tmp_path: Path, database_url: str, ended: Event, created_first: bool
) -> None:
    async with two_copies(assemble, "shipping", tmp_path, database_url) as (first, second):
        works = [first.hear(created()), second.hear(ended)]
        await crossing(database_url, "shipping", "orders", *(works if created_first else reversed(works)))
        [shipment] = await first.rows(sa.select(shipments))
    assert shipment["customer_id"] == "customer-1"
    assert shipment["status"] == ("cancelled" if isinstance(ended, OrderCancelled) else "pending")


@FIRST
async def test_without_goods_there_is_nothing_to_ship_whoever_heard_of_what(
    tmp_path: Path, database_url: str, created_first: bool
) -> None:
    async with two_copies(assemble, "shipping", tmp_path, database_url) as (first, second):
        works = [first.hear(created(goods=False)), second.hear(COMPLETED)]
        await crossing(database_url, "shipping", "orders", *(works if created_first else reversed(works)))
        assert await first.rows(sa.select(shipments)) == []
