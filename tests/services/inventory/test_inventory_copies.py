"""Several copies of the inventory hear of one thing at the same moment."""

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.contracts.catalog import ProductCreated, ProductDeleted
from orderwright.services.inventory.manifest import assemble
from orderwright.services.inventory.tables import products
from tests.crossing import crossing, two_copies

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
