"""The journal's judge must be able to say no."""

import pytest

from chaos.journal import Said
from chaos.judges import order_as_told

COMPLETED = {"status": "completed", "cancel_reason": None}
REFUSED = {"status": "cancelled", "cancel_reason": "insufficient_inventory"}
UNPAID = {"status": "cancelled", "cancel_reason": "payment_failed"}


def said(status: int) -> Said:
    """An order that was answered so."""
    return Said("customer", "order", "key", {}, status, "order-1", "order-1", began_s=0, answered_s=1, tries=1)


@pytest.mark.parametrize(
    ("status", "row"), [(201, COMPLETED), (201, UNPAID), (202, COMPLETED), (202, REFUSED), (400, REFUSED)]
)
def test_an_order_that_is_what_was_said_passes(status: int, row: dict[str, str | None]) -> None:
    assert order_as_told(said(status), row) == []


@pytest.mark.parametrize(
    ("status", "row"),
    [(201, None), (202, None), (400, None), (201, REFUSED), (400, COMPLETED), (400, UNPAID)],
)
def test_an_order_that_is_something_else_is_named(status: int, row: dict[str, str | None] | None) -> None:
    [found] = order_as_told(said(status), row)
    assert "order-1" in found
