"""Several copies of the order service hear of one thing at the same moment."""

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.catalog import ProductCreated, ProductUpdated
from orderwright.services.order.manifest import assemble
from orderwright.services.order.tables import products
from tests.crossing import crossing, two_copies

CREATED = ProductCreated(product_id="p", name="Mug", price=Decimal("10.00"), quantity=5)
UPDATED = ProductUpdated(product_id="p", price=Decimal("12.00"))


@pytest.mark.parametrize("later_first", [False, True])
async def test_of_two_prices_of_a_new_product_the_newer_counts(
    tmp_path: Path, database_url: str, later_first: bool
) -> None:
    async with two_copies(assemble, "order", tmp_path, database_url) as (first, second):
        second.clock.advance(60)
        works = [first.hear(CREATED), second.hear(UPDATED)]
        await crossing(database_url, "order", "products", *(reversed(works) if later_first else works))
        [known] = await first.rows(sa.select(products))
    assert known["price"] == Decimal("12.00")
