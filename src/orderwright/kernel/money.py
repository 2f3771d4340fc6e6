"""Exact money: amounts are Decimals with the currency's exponent at the edge and integer minor units inside.

Invariants: no amount is ever a binary float, and none has more decimals than its currency (ISO 4217) knows. Nothing
here calculates in the ambient decimal context, which rounds to 28 digits without a word.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from orderwright.kernel.errors import Invalid

MAX_DIGITS: Final = 10
"""Digits before the point."""
MAX_DECIMALS: Final = 4
"""No currency has more; a request that writes more is refused before its currency is known."""
AMOUNT_PATTERN: Final = r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,4})?$"

_LIMIT: Final = 10**MAX_DIGITS
_AMOUNT = re.compile(r"-?(?:0|[1-9][0-9]{0,9})(?:\.([0-9]+))?")
_NO_DECIMALS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS: Final = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS: Final = "CLF UYW"
# ISO 4217 list one as of 1 January 2026, funds included; what has no minor unit, like gold, is no money.
_TWO_DECIMALS: Final = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY "
    "COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS "
    "INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR "
    "MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP "
    "STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
)
EXPONENTS: Final[Mapping[str, int]] = {
    code: digits
    for digits, codes in ((0, _NO_DECIMALS), (2, _TWO_DECIMALS), (3, _THREE_DECIMALS), (4, _FOUR_DECIMALS))
    for code in codes.split()
}
"""How many decimals each currency has."""


class InvalidAmount(Invalid, ValueError):
    """A business error where it is called directly; a ValueError, so that pydantic says which field it is in."""

    problem, title = "invalid-amount", "Invalid amount"


class FloatAmount(TypeError, ValueError):
    """A mistake of ours, not of the caller; a ValueError too, so that it never answers 500 from a request's field."""


def exponent(currency: str) -> int:
    """How many decimals `currency` has. Invalid when it is no active ISO 4217 code in capitals."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise Invalid("The currency is no ISO 4217 code, like USD", problem="invalid-currency") from None


def parse(value: object) -> Decimal:
    """The amount that a JSON number or text says. InvalidAmount unless it is plain decimal notation."""
    if isinstance(value, float):
        raise FloatAmount("An amount is never a binary float; hand over text, an int or a Decimal")
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise InvalidAmount("An amount is a decimal number, like 59.98")
    # Through Decimal because str() of a very long int is a ValueError of Python's own.
    written = value if isinstance(value, str) else str(Decimal(value))
    plain = _AMOUNT.fullmatch(written)
    # Python writes a Decimal with a negative exponent when it begins after the sixth decimal: 0.0000001 is 1E-7.
    if (plain and len(plain[1] or "") > MAX_DECIMALS) or (isinstance(value, Decimal) and "E-" in written):
        raise InvalidAmount(f"No currency has more than {MAX_DECIMALS} decimals", problem="invalid-amount-precision")
    if not plain:
        raise InvalidAmount(f"An amount is written like 59.98, with at most {MAX_DIGITS} digits before the point")
    amount = Decimal(written)
    if not amount and amount.is_signed():
        raise InvalidAmount("An amount of zero has no sign")
    return amount


def to_minor(amount: Decimal, currency: str) -> int:
    """`amount` in minor units (cents). Invalid when it has more decimals than the currency, or is too large.

    Zeros at the end are no more decimals: a client that writes 1050.0 for ¥1050 is understood.
    """
    digits = exponent(currency)
    if not amount.is_finite() or amount.copy_abs() >= _LIMIT:
        raise InvalidAmount(f"An amount is a number with at most {MAX_DIGITS} digits before the point")
    if not amount:
        if amount.is_signed():
            raise InvalidAmount("An amount of zero has no sign")
        return 0
    # What begins after the last decimal is refused by its size: its ratio could be very long.
    if amount.adjusted() >= -digits:
        numerator, denominator = amount.as_integer_ratio()
        minor: int = numerator * 10**digits // denominator
        if minor * denominator == numerator * 10**digits:
            return minor
    raise InvalidAmount(f"{currency} has {digits} decimals", problem="invalid-amount-precision")


def from_minor(minor: int, currency: str) -> Decimal:
    """Minor units as an amount with exactly the currency's decimals."""
    return Decimal(text(minor, currency))


def exact(amount: Decimal, currency: str) -> Decimal:
    """`amount` with exactly the currency's decimals. Invalid when it has more."""
    return from_minor(to_minor(amount, currency), currency)


def text(minor: int, currency: str) -> str:
    """Minor units as decimal text: `59.98`."""
    digits = exponent(currency)
    if digits == 0:
        return str(minor)
    whole, rest = divmod(abs(minor), 10**digits)
    return f"{'-' if minor < 0 else ''}{whole}.{rest:0{digits}d}"


def _not_negative(value: object) -> Decimal:
    amount = parse(value)
    if amount < 0:
        raise InvalidAmount("An amount is not negative")
    return amount


def _positive(value: object) -> Decimal:
    amount = parse(value)
    if amount <= 0:
        raise InvalidAmount("An amount is greater than 0")
    return amount


def _plain(amount: Decimal) -> str:
    return format(amount, "f")


def _schema(**lower_bound: int) -> WithJsonSchema:
    text_form: dict[str, Any] = {"type": "string", "pattern": AMOUNT_PATTERN, "examples": ["59.98"]}
    number_form: dict[str, Any] = {
        "type": "number",
        **lower_bound,
        "exclusiveMaximum": _LIMIT,
        "examples": [59.98],
    }
    return WithJsonSchema({"anyOf": [text_form, number_form]}, mode="validation")


_TEXT = PlainSerializer(_plain, return_type=str, when_used="json")

Amount = Annotated[Decimal, BeforeValidator(_not_negative), _schema(minimum=0), _TEXT]
"""A request's amount of zero or more: a JSON number or text; decimal text in answers."""
PositiveAmount = Annotated[Decimal, BeforeValidator(_positive), _schema(exclusiveMinimum=0), _TEXT]
"""A request's amount of more than zero."""
AmountText = Annotated[Decimal, _TEXT, WithJsonSchema({"type": "string", "examples": ["59.98"]}, mode="serialization")]
"""An answer's amount: decimal text."""
