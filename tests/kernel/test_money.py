"""Money is exact: what goes in comes out, and what a currency does not know is refused."""

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from orderwright.kernel import money
from orderwright.kernel.errors import BusinessError, Invalid
from orderwright.kernel.money import Amount, AmountText, PositiveAmount


class Asked(BaseModel):
    """A body with both kinds of amount."""

    fee: Amount = Decimal(0)
    price: PositiveAmount = Decimal(1)


class Answered(BaseModel):
    """An answer with an amount."""

    total: AmountText


@settings(deadline=None)
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


@settings(deadline=None)
@given(st.sampled_from(sorted(money.EXPONENTS)), st.data())
def test_every_amount_of_every_currency_survives_text_and_back(currency: str, data: st.DataObject) -> None:
    most = 10 ** (money.MAX_DIGITS + money.exponent(currency)) - 1
    minor = data.draw(st.integers(-most, most))
    assert money.to_minor(money.parse(money.text(minor, currency)), currency) == minor
    assert -money.from_minor(minor, currency).as_tuple().exponent == money.exponent(currency)  # type: ignore[operator]


@settings(deadline=None)
@given(st.from_regex(money.AMOUNT_PATTERN[1:-1], fullmatch=True))
def test_whatever_the_documented_pattern_allows_is_read(written: str) -> None:
    assert money.parse(written) == Decimal(written)


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [
        *((code, 0) for code in ("JPY", "KRW", "VND", "CLP", "ISK", "UGX", "XAF", "XOF", "XPF")),
        *((code, 2) for code in ("USD", "EUR", "GBP", "INR", "CHF", "XCG", "ZWG", "SLE", "VED")),
        *((code, 3) for code in ("BHD", "KWD", "OMR", "JOD", "TND", "IQD", "LYD")),
        ("CLF", 4),
    ],
)
def test_a_currency_has_the_decimals_that_iso_4217_gives_it(currency: str, decimals: int) -> None:
    assert money.exponent(currency) == decimals


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("usd", id="small letters"),
        pytest.param("US", id="too short"),
        pytest.param("USDT", id="too long"),
        pytest.param("ÜSD", id="a letter that is not ASCII"),
        pytest.param("", id="empty"),
        pytest.param("XXX", id="the code of no currency"),
        pytest.param("XTS", id="the code for tests"),
        pytest.param("XAU", id="gold, which has no minor unit"),
        pytest.param("BTC", id="never in ISO 4217"),
        pytest.param("DEM", id="no longer money"),
        pytest.param("ANG", id="became XCG in 2025"),
        pytest.param("BGN", id="became EUR in 2026"),
    ],
)
def test_what_is_no_active_currency_is_refused(code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        money.exponent(code)
    assert refusal.value.problem_type == "invalid-currency"
    assert len(code) < 3 or code not in refusal.value.detail


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param("1e3", "invalid-amount", id="exponent in a text"),
        pytest.param(Decimal("1e3"), "invalid-amount", id="exponent in a JSON number"),
        pytest.param(Decimal("1E400"), "invalid-amount", id="exponent beyond every currency"),
        pytest.param(Decimal("NaN"), "invalid-amount", id="not a number"),
        pytest.param(Decimal("-Infinity"), "invalid-amount", id="infinite"),
        pytest.param("1_000", "invalid-amount", id="underscore, which int() takes"),
        pytest.param("１２", "invalid-amount", id="full-width digits, which int() takes"),
        pytest.param(" 1", "invalid-amount", id="space before"),
        pytest.param("1\n", "invalid-amount", id="line break after, which $ would let pass"),
        pytest.param("+1", "invalid-amount", id="plus"),
        pytest.param("007", "invalid-amount", id="leading zeros"),
        pytest.param("1.", "invalid-amount", id="point without decimals"),
        pytest.param(".5", "invalid-amount", id="decimals without digits"),
        pytest.param("10,00", "invalid-amount", id="comma"),
        pytest.param("12345678901", "invalid-amount", id="eleven digits"),
        pytest.param(12345678901, "invalid-amount", id="eleven digits in a JSON number"),
        pytest.param(10**5000, "invalid-amount", id="longer than str() of an int"),
        pytest.param("-0.00", "invalid-amount", id="zero with a sign"),
        pytest.param(Decimal("-0.0"), "invalid-amount", id="zero with a sign in a JSON number"),
        pytest.param(False, "invalid-amount", id="a truth value is an int to Python"),
        pytest.param("0.30000000000000004", "invalid-amount-precision", id="a float that somebody wrote down"),
        pytest.param("1.00000", "invalid-amount-precision", id="five decimals"),
        pytest.param(Decimal("0.0000001"), "invalid-amount-precision", id="so small that Python writes 1E-7"),
    ],
)
def test_what_is_no_plain_decimal_is_refused_with_its_reason(value: object, problem: str) -> None:
    with pytest.raises(Invalid) as refusal:
        money.parse(value)
    assert refusal.value.problem_type == problem
    assert refusal.value.status == 422


def test_an_exponent_that_leaves_a_number_plain_is_that_number() -> None:
    assert money.parse(Decimal("1.5e1")) == 15


def test_a_float_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="never a binary float") as mistake:
        money.parse(59.98)
    assert not isinstance(mistake.value, BusinessError)


@pytest.mark.parametrize(
    ("amount", "currency", "problem"),
    [
        pytest.param("-0", "USD", "invalid-amount", id="zero with a sign"),
        pytest.param("NaN", "USD", "invalid-amount", id="not a number"),
        pytest.param("sNaN", "USD", "invalid-amount", id="not even comparable"),
        pytest.param("Infinity", "USD", "invalid-amount", id="infinite"),
        pytest.param("-10000000000", "USD", "invalid-amount", id="eleven digits, negative"),
        pytest.param("1E+999999", "USD", "invalid-amount", id="a million digits"),
        pytest.param("0.5", "JPY", "invalid-amount-precision", id="half a yen"),
        pytest.param("1.00000000000000000000000000001", "USD", "invalid-amount-precision", id="beyond 28 digits"),
        pytest.param("1E-999999", "USD", "invalid-amount-precision", id="a million decimals"),
    ],
)
def test_what_cannot_be_minor_units_is_refused(amount: str, currency: str, problem: str) -> None:
    with pytest.raises(Invalid) as refusal:
        money.to_minor(Decimal(amount), currency)
    assert refusal.value.problem_type == problem


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        pytest.param("1050.0", "JPY", 1050, id="zeros at the end are no more decimals"),
        pytest.param("59.9800", "USD", 5998, id="not even many of them"),
        pytest.param("9999999999.999", "BHD", 9_999_999_999_999, id="the largest"),
        pytest.param("-0.05", "USD", -5, id="less than nothing, less than a unit"),
        pytest.param("0E-9", "USD", 0, id="zero however it is written"),
    ],
)
def test_amounts_become_minor_units_exactly(amount: str, currency: str, minor: int) -> None:
    assert money.to_minor(Decimal(amount), currency) == minor


def test_no_ambient_decimal_context_reaches_money() -> None:
    with localcontext() as context:
        context.prec = 3
        assert money.to_minor(Decimal("1234567.89"), "USD") == 123456789
        assert money.from_minor(123456789, "USD") == Decimal("1234567.89")
        assert money.exact(Decimal("1234567.8"), "USD").as_tuple().exponent == -2


@pytest.mark.parametrize("value", ["59.98", Decimal("59.98"), Decimal("59.980")])
def test_a_request_may_send_a_number_or_a_text(value: object) -> None:
    assert Asked.model_validate({"price": value}).price == Decimal("59.98")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param({"fee": "-0.01"}, "not negative", id="less than nothing"),
        pytest.param({"fee": "-0"}, "no sign", id="zero with a sign would be answered as -0"),
        pytest.param({"price": 0}, "greater than 0", id="nothing, where something is due"),
        pytest.param({"price": Decimal("1e3")}, "written like", id="exponent"),
        pytest.param({"price": None}, "decimal number", id="null"),
        pytest.param({"price": []}, "decimal number", id="a list"),
        pytest.param({"price": 59.98}, "binary float", id="a float is refused too, and is no 500"),
    ],
)
def test_a_field_that_is_no_amount_is_named(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as refusal:
        Asked.model_validate(body)
    assert refusal.value.errors()[0]["loc"] == (*body,)


def test_zero_is_an_amount_where_nothing_may_be_due() -> None:
    assert Asked(fee=Decimal(0)).fee == 0


def test_amounts_are_answered_as_plain_decimal_text() -> None:
    assert Answered(total=Decimal("59.90")).model_dump_json() == '{"total":"59.90"}'
    assert Answered(total=Decimal("1E+3")).model_dump_json() == '{"total":"1000"}'
    assert Asked(fee=Decimal("0.50")).model_dump(mode="json")["fee"] == "0.50"


def test_the_schema_says_number_or_text_in_and_text_out() -> None:
    asked = Asked.model_json_schema()["properties"]
    for name, bound in (("fee", {"minimum": 0}), ("price", {"exclusiveMinimum": 0})):
        text, number = asked[name]["anyOf"]
        assert (text["type"], text["pattern"]) == ("string", money.AMOUNT_PATTERN)
        assert number["type"] == "number"
        assert number.items() >= {**bound, "exclusiveMaximum": 10**10}.items()
    for model in (Asked, Answered):
        for member in model.model_json_schema(mode="serialization")["properties"].values():
            assert member["type"] == "string"
