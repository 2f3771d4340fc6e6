"""JSON from outside, read strictly and exactly.

Invariants: a number with a fraction or an exponent becomes a Decimal, never a float; nothing ambiguous is accepted
(duplicate names, NaN, lone surrogates, a byte order mark); depth and length of numbers are bounded and every pass over
the text is linear, so that no body can exhaust the reader. An error says where, and never repeats what was sent.
"""

import json
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from orderwright.kernel.errors import Malformed

MAX_DEPTH = 32
MAX_NUMBER_LENGTH = 64
MAX_EXPONENT = 300

# Possessive, and an unfinished text reaches to the end: otherwise each of its quotes would be tried as a beginning.
_TOKEN = re.compile(
    r'"[^"\\]*+(?:\\.?[^"\\]*+)*+(?:"|\Z)'
    r"|[\[\]{}]"
    r"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
    r"|-?Infinity|NaN",
    re.DOTALL,
)
_BYTES_TEXT = re.compile(rb'"[^"\\]*+(?:\\.?[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
_COLON = re.compile(r"[ \t\r\n]*:")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _Unusable(Exception):
    """A literal that is no number of ours; `loads` finds out where it stands."""

    def __init__(self, what: str, literal: str) -> None:
        super().__init__(what)
        self.what = what
        self.literal = literal


class _Repeated(Exception):
    """An object names a member twice; `loads` finds out where."""


def loads(body: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `body` is. Malformed, with the place but never the content, when it is not strict JSON."""
    if not body.strip():
        raise Malformed("The body is empty; send a JSON document", problem="malformed-request")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(f"not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise _malformed("a byte order mark at line 1, column 1")
    if _may_be_deeper(body, max_depth):
        _check_depth(text, max_depth)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}") from None
    except _Unusable as refusal:
        raise _malformed(f"{refusal.what}{_place(text, _position_of(refusal.literal, text))}") from None
    except _Repeated:
        where = _place(text, _position_of_repetition(text))
        raise Malformed(f"An object names the same member twice{where}", problem="duplicate-member") from None
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(text)
    return value


def find_nul(value: Any) -> tuple[str | int, ...] | None:
    """Where a text contains NUL, which no database column of ours can hold; None when none does."""
    members: Iterable[tuple[str | int, Any]]
    if isinstance(value, dict):
        if "\x00" in "".join(value):
            return ()  # in a name: the object is the place
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    else:
        return () if isinstance(value, str) and "\x00" in value else None
    for name, member in members:
        if isinstance(member, str):
            if "\x00" in member:
                return (name,)
        elif isinstance(member, (dict, list)) and (found := find_nul(member)) is not None:
            return (name, *found)
    return None


def _may_be_deeper(body: bytes, max_depth: int) -> bool:
    """Whether `body` is deeper, or its brackets do not match. Loops in C only: large orders pass here."""
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return False
    # Without a backslash every quote begins or ends a text, so every other piece lies outside of one.
    outside = _BYTES_TEXT.sub(b"", body) if b"\\" in body else b"".join(body.split(b'"')[::2])
    brackets = outside.translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # each pass takes the innermost level away
    return bool(brackets)


def _check_depth(text: str, max_depth: int) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        mark = text[token.start()]
        if mark in "[{":
            depth += 1
            if depth > max_depth:
                raise _malformed(f"nested deeper than {max_depth}{_place(text, token.start())}")
        elif mark in "]}":
            depth -= 1


def _decimal(literal: str) -> Decimal:
    if len(literal) > MAX_NUMBER_LENGTH:
        raise _Unusable(f"a number of more than {MAX_NUMBER_LENGTH} characters", literal)
    try:
        number = Decimal(literal)
    except InvalidOperation:  # an exponent that even Decimal cannot hold
        raise _Unusable("a number out of range", literal) from None
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise _Unusable("a number out of range", literal)
    return number


def _integer(literal: str) -> int:
    if len(literal) > MAX_NUMBER_LENGTH:
        raise _Unusable(f"a number of more than {MAX_NUMBER_LENGTH} characters", literal)
    return int(literal)


def _refuse_constant(name: str) -> NoReturn:
    raise _Unusable(f"{name} is not a JSON number", name)


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Repeated
    return members


_DECODER = json.JSONDecoder(
    parse_float=_decimal, parse_int=_integer, parse_constant=_refuse_constant, object_pairs_hook=_unique_members
)


def _check_surrogates(text: str) -> None:
    # Backslashes stand in texts only, because `text` has been read as JSON.
    for escape in _ESCAPE.finditer(text):
        if escape[1]:
            raise _malformed(f"a lone surrogate{_place(text, escape.start())}")


def _position_of(literal: str, text: str) -> int:
    return next((token.start() for token in _TOKEN.finditer(text) if token[0] == literal), 0)


def _position_of_repetition(text: str) -> int:
    names: list[set[str]] = []
    for token in _TOKEN.finditer(text):
        mark = token[0][0]
        if mark in "[{":
            names.append(set())
        elif mark in "]}":
            names.pop()
        elif mark == '"' and _COLON.match(text, token.end()):
            name = json.loads(token[0]) if "\\" in token[0] else token[0][1:-1]
            if name in names[-1]:
                return token.start()
            names[-1].add(name)
    return 0


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f" at line {line}, column {column}"


def _malformed(what: str) -> Malformed:
    return Malformed(f"The body is not JSON that can be read: {what}", problem="malformed-json")
