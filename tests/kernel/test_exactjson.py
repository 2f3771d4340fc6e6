"""JSON from outside is read exactly, and what is ambiguous is refused without repeating it."""

from decimal import Decimal

import pytest

from orderwright.kernel import exactjson
from orderwright.kernel.errors import Malformed


def test_numbers_are_exact() -> None:
    read = exactjson.loads(b'{"a": 0.1, "b": 29.990000000000000001, "c": 12, "d": 1E2}')
    assert read == {"a": Decimal("0.1"), "b": Decimal("29.990000000000000001"), "c": 12, "d": Decimal("1E2")}
    assert not any(isinstance(value, float) for value in read.values())


def test_32_levels_are_read_and_33_are_not() -> None:
    assert exactjson.loads(b"[" * 32 + b"]" * 32)
    with pytest.raises(Malformed, match="deeper than 32"):
        exactjson.loads(b"[" * 33 + b"]" * 33)


def test_many_shallow_brackets_and_brackets_in_texts_are_no_depth() -> None:
    assert len(exactjson.loads(b"[" + b"[]," * 500 + b'"[[[[]"]')) == 501


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert exactjson.loads(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    "body", [b"", b"  ", b"{", b"{} x", b"NaN", b"1e400", b"9" * 65, b'{"a":1,"a":2}', b'"\\udc00"', b"\xff"]
)
def test_what_is_not_strict_is_refused_without_its_content(body: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        exactjson.loads(body)
    assert "999" not in refusal.value.detail


def test_nul_is_found_wherever_it_is() -> None:
    assert exactjson.find_nul({"a": ["x", {"b": "\x00"}]}) == ("a", 1, "b")
    assert exactjson.find_nul({"a": ["x", 1, None]}) is None
