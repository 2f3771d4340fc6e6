"""Exact money: amounts are Decimals with the currency's exponent at the edge and integer minor units inside.

Invariant: no amount is ever a binary float, and none has more decimals than its currency (ISO 4217) knows.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from orderwright.kernel.errors import Invalid

MAX_DIGITS: Final = 10
"""Digits before the point."""
AMOUNT_PATTERN: Final = r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,4})?$"

_AMOUNT = re.compile(r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,4})?", re.ASCII)
_NO_DECIMALS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS: Final = "BHD IQD JOD KWD LYD OMR TND"
_TWO_DECIMALS: Final = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
    "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD "
    "NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN "
    "SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG "
)
_EXPONENTS: Final[dict[str, int]] = {
    code: digits
    for codes, digits in ((_NO_DECIMALS, 0), (_TWO_DECIMALS, 2), (_THREE_DECIMALS, 3))
    for code in codes.split()
}


def exponent(currency: str) -> int:
    """How many decimals `currency` has. Invalid when it is no active ISO 4217 code in capitals."""
    try:
        return _EXPONENTS[currency]
    except KeyError:
        raise Invalid("The currency is no ISO 4217 code, like USD", problem="invalid-currency") from None


def parse(value: object) -> Decimal:
    """The amount that a JSON number or text says. ValueError unless it is plain decimal notation."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("An amount is a decimal number, like 59.98")
    text = str(value)
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"An amount is written like 59.98, with at most {MAX_DIGITS} digits before the point")
    return Decimal(text)


def to_minor(amount: Decimal, currency: str) -> int:
    """`amount` in minor units (cents). Invalid when it has more decimals than the currency, or is too large."""
    digits = exponent(currency)
    if not amount.is_finite() or abs(amount) >= 10**MAX_DIGITS:
        raise Invalid(f"An amount has at most {MAX_DIGITS} digits before the point", problem="invalid-amount")
    minor = amount.scaleb(digits)
    if minor != minor.to_integral_value():
        raise Invalid(f"{currency} has {digits} decimals", problem="invalid-amount-precision")
    return int(minor)


def from_minor(minor: int, currency: str) -> Decimal:
    """Minor units as an amount with exactly the currency's decimals."""
    return Decimal(minor).scaleb(-exponent(currency))


def exact(amount: Decimal, currency: str) -> Decimal:
    """`amount` with exactly the currency's decimals. Invalid when it has more."""
    return from_minor(to_minor(amount, currency), currency)


def text(minor: int, currency: str) -> str:
    """Minor units as decimal text: `59.98`."""
    return format(from_minor(minor, currency), "f")


def _not_negative(value: Any) -> Decimal:
    amount = parse(value)
    if amount < 0:
        raise ValueError("An amount is not negative")
    return amount


def _positive(value: Any) -> Decimal:
    amount = parse(value)
    if amount <= 0:
        raise ValueError("An amount is greater than 0")
    return amount


def _plain(amount: Decimal) -> str:
    return format(amount, "f")


_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "pattern": AMOUNT_PATTERN, "examples": ["59.98"]},
            {"type": "number", "minimum": 0, "examples": [59.98]},
        ]
    },
    mode="validation",
)
_TEXT = PlainSerializer(_plain, return_type=str, when_used="json")

Amount = Annotated[Decimal, BeforeValidator(_not_negative), _SCHEMA, _TEXT]
"""A request's amount of zero or more: a JSON number or text; decimal text in answers."""
PositiveAmount = Annotated[Decimal, BeforeValidator(_positive), _SCHEMA, _TEXT]
"""A request's amount of more than zero."""
AmountText = Annotated[Decimal, _TEXT, WithJsonSchema({"type": "string", "examples": ["59.98"]}, mode="serialization")]
"""An answer's amount: decimal text."""
