"""Money is exact: what goes in comes out, and what a currency does not know is refused."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwright.kernel import money
from orderwright.kernel.errors import Invalid


@given(st.integers(-(10**12) + 1, 10**12 - 1), st.sampled_from(["USD", "JPY", "BHD"]))
def test_minor_units_survive_the_way_out_and_back(minor: int, currency: str) -> None:
    small = minor % 10**10
    assert money.to_minor(money.from_minor(small, currency), currency) == small


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [(5998, "USD", "59.98"), (1050, "JPY", "1050"), (1, "BHD", "0.001"), (0, "EUR", "0.00"), (-5, "USD", "-0.05")],
)
def test_text_has_exactly_the_currencys_decimals(minor: int, currency: str, text: str) -> None:
    assert money.text(minor, currency) == text


@pytest.mark.parametrize("value", ["59.98", 59, Decimal("59.98"), "0", "0.5"])
def test_plain_decimals_are_read(value: Any) -> None:
    assert money.parse(value) == Decimal(str(value))


@pytest.mark.parametrize(
    "value",
    [59.98, True, None, "1e3", Decimal("1e3"), "1_000", "١٢", " 1", "+1", "007", "1,5", "12345678901", "", "NaN", [1]],
)
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="amount"):
        money.parse(value)


@pytest.mark.parametrize(
    ("amount", "currency", "problem"),
    [
        ("10.50", "JPY", "invalid-amount-precision"),
        ("1.2345", "BHD", "invalid-amount-precision"),
        ("1", "usd", "invalid-currency"),
        ("1", "XXX", "invalid-currency"),
        ("10000000000", "USD", "invalid-amount"),
    ],
)
def test_what_a_currency_does_not_know_is_refused(amount: str, currency: str, problem: str) -> None:
    with pytest.raises(Invalid) as refusal:
        money.to_minor(Decimal(amount), currency)
    assert refusal.value.problem_type == problem
