"""Several copies of payment hear of one order at the same moment; whatever each of them heard counts."""

import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderwright.services.payment.manifest import assemble
from orderwright.services.payment.tables import payments
from tests.crossing import crossing, two_copies
from tests.services.payment.till import CANCELLED, RESERVED, created, name_method

HEARD = {"created": created(), "reserved": RESERVED, "cancelled": CANCELLED}


@pytest.mark.parametrize("pair", list(itertools.combinations(HEARD, 2)), ids=" and ".join)
async def test_what_two_copies_hear_of_a_new_order_at_once_is_all_kept(
    tmp_path: Path, database_url: str, pair: tuple[str, str]
) -> None:
    async with two_copies(assemble, "payment", tmp_path, database_url) as (first, second):
        await crossing(database_url, "payment", "payments", first.hear(HEARD[pair[0]]), second.hear(HEARD[pair[1]]))
        [payment] = await first.rows(sa.select(payments))
    assert (payment["amount_minor"] > 0) == ("created" in pair)
    assert payment["stock_reserved"] == ("reserved" in pair)
    assert payment["order_cancelled"] == ("cancelled" in pair)


async def test_an_order_of_which_two_copies_hear_at_once_is_charged(tmp_path: Path, database_url: str) -> None:
    async with two_copies(assemble, "payment", tmp_path, database_url) as (first, second):
        await name_method(first)
        await crossing(database_url, "payment", "payments", first.hear(created()), second.hear(RESERVED))
        await first.run_job("charge")
        [payment] = await first.rows(sa.select(payments))
    assert (payment["status"], payment["captured_minor"]) == ("success", 3000)
