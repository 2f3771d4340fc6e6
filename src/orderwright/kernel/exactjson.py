"""JSON from outside, read strictly and exactly.

Invariants: a number with a fraction or an exponent becomes a Decimal, never a float; nothing ambiguous is accepted
(duplicate names, NaN, lone surrogates, a byte order mark); depth and length of numbers are bounded, so that no body can
exhaust the reader. What was sent is never repeated in an error.
"""

import json
import re
from decimal import Decimal
from typing import Any, NoReturn

from orderwright.kernel.errors import Malformed

MAX_DEPTH = 32
MAX_NUMBER_LENGTH = 64
MAX_EXPONENT = 300

_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def loads(body: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `body` is. Malformed, with the place but never the content, when it is not strict JSON."""
    if not body.strip():
        raise Malformed("The body is empty; send a JSON document", problem="malformed-request")
    _check_depth(body, max_depth)
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_members,
        )
        if _SURROGATE_ESCAPE.search(body):
            _check_surrogates(value)
    except UnicodeDecodeError as error:
        raise _malformed(f"not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise _malformed("a lone surrogate") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    return value


def find_nul(value: Any, path: tuple[str | int, ...] = ()) -> tuple[str | int, ...] | None:
    """Where a text contains NUL, which no database column of ours can hold; None when none does."""
    match value:
        case str():
            return path if "\x00" in value else None
        case dict():
            for name, member in value.items():
                if "\x00" in name:
                    return path
                if (found := find_nul(member, (*path, name))) is not None:
                    return found
        case list():
            for index, item in enumerate(value):
                if (found := find_nul(item, (*path, index))) is not None:
                    return found
    return None


def _check_depth(body: bytes, max_depth: int) -> None:
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    depth = 0
    for token in _STRUCTURE.finditer(body):
        mark = body[token.start()]
        if mark in b"[{":
            depth += 1
            if depth > max_depth:
                raise _malformed(f"nested deeper than {max_depth}")
        elif mark in b"]}":
            depth -= 1


def _decimal(literal: str) -> Decimal:
    if len(literal) > MAX_NUMBER_LENGTH:
        raise _malformed(f"a number of more than {MAX_NUMBER_LENGTH} characters")
    number = Decimal(literal)
    if not number.is_finite() or abs(number.adjusted()) > MAX_EXPONENT:
        raise _malformed("a number out of range")
    return number


def _integer(literal: str) -> int:
    if len(literal) > MAX_NUMBER_LENGTH:
        raise _malformed(f"a number of more than {MAX_NUMBER_LENGTH} characters")
    return int(literal)


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not a JSON number")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("An object names the same member twice", problem="duplicate-member")
    return members


def _check_surrogates(value: Any) -> None:
    match value:
        case str():
            value.encode("utf-8")
        case dict():
            for name, member in value.items():
                name.encode("utf-8")
                _check_surrogates(member)
        case list():
            for item in value:
                _check_surrogates(item)


def _malformed(what: str) -> Malformed:
    return Malformed(f"The body is not JSON that can be read: {what}", problem="malformed-json")
