"""JSON from outside is read exactly, and what is ambiguous is refused without repeating it."""

import json
import subprocess
import sys
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


SECRET = "4111111111111111"


@pytest.mark.parametrize(
    ("body", "problem", "where"),
    [
        pytest.param(b"", "malformed-request", "is empty", id="nothing"),
        pytest.param(b" \r\n\t", "malformed-request", "is empty", id="only blanks"),
        pytest.param(b'{"a": [1,', "malformed-json", "line 1, column 10", id="cut off"),
        pytest.param(b'{"a": "4111111111111111', "malformed-json", "line 1, column 7", id="cut off in a text"),
        pytest.param(b'{}\n{"a": 4111111111111111}', "malformed-json", "line 2, column 1", id="two documents"),
        pytest.param(b"{'a': 1}", "malformed-json", "line 1, column 2", id="single quotes"),
        pytest.param(b'{"a": 1,}', "malformed-json", "line 1, column", id="comma at the end"),
        pytest.param(b"[01]", "malformed-json", "line 1, column 3", id="leading zero"),
        pytest.param(b"[+1]", "malformed-json", "line 1, column 2", id="plus"),
        pytest.param("[١٢]".encode(), "malformed-json", "line 1, column 2", id="digits that are not ASCII"),
        pytest.param(b'["NaN",\n NaN]', "malformed-json", "line 2, column 2", id="not a number"),
        pytest.param(b"[-Infinity]", "malformed-json", "line 1, column 2", id="infinite"),
        pytest.param(b'["1e400", 1e400]', "malformed-json", "line 1, column 11", id="out of range"),
        pytest.param(b"[1e-400]", "malformed-json", "line 1, column 2", id="out of range, small"),
        pytest.param(b"[1e9999999999999999999999]", "malformed-json", "line 1, column 2", id="beyond Decimal itself"),
        pytest.param(b"[0e-9999999999999999999999]", "malformed-json", "line 1, column 2", id="zero beyond Decimal"),
        pytest.param(b"[" + b"9" * 65 + b"]", "malformed-json", "line 1, column 2", id="65 digits"),
        pytest.param(b"[" + b"9" * 5000 + b"]", "malformed-json", "line 1, column 2", id="5000 digits"),
        pytest.param(b"[0." + b"9" * 63 + b"]", "malformed-json", "line 1, column 2", id="63 decimals"),
        pytest.param(
            b'{"a":\n1,"4111111111111111":2,"4111111111111111":3}', "duplicate-member", "column 24", id="twice"
        ),
        pytest.param(b'{"b":[{"a":1,"\\u0061":2}]}', "duplicate-member", "column 14", id="twice, one escaped"),
        pytest.param(b'{"a":"a","b":{"a":["a"]},"a":1}', "duplicate-member", "column 26", id="twice, others between"),
        pytest.param(b"[" * 200_000, "malformed-json", "line 1, column 33", id="200000 deep"),
        pytest.param(b'{"a":' * 33 + b"1" + b"}" * 33, "malformed-json", "line 1, column 161", id="33 objects deep"),
        pytest.param(
            b'["[\\"["' + b",[[[]]]" * 9 + b"," + b"[" * 33,
            "malformed-json",
            "than 32 at line 1, column 103",
            id="deep at the end",
        ),
        pytest.param(
            b'["\\"", ' + b"[" * 33 + b"]" * 33 + b', "\\""]',
            "malformed-json",
            "column 39",
            id="between escaped quotes",
        ),
        pytest.param(b"[" + b"[]," * 40, "malformed-json", "value at line 1, column 122", id="broad and cut off"),
        pytest.param(b'{"a": "\xff"}', "malformed-json", "byte 7", id="not UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', "malformed-json", "byte 1", id="a surrogate as bytes"),
        pytest.param(b"\xef\xbb\xbf{}", "malformed-json", "byte order mark", id="byte order mark"),
        pytest.param("{}".encode("utf-16"), "malformed-json", "byte 0", id="another encoding"),
        pytest.param(b'["\\ud83d\\ude00", "\\ud83d"]', "malformed-json", "line 1, column 19", id="half a pair"),
        pytest.param(b'{"\\uDC00": 1}', "malformed-json", "line 1, column 3", id="half a pair in a name"),
        pytest.param(b'"\\ude00\\ud83d"', "malformed-json", "line 1, column 2", id="a pair the wrong way round"),
        pytest.param(b'"\\\\\\ud800"', "malformed-json", "line 1, column 4", id="after an escaped backslash"),
        pytest.param(b'"4111111111111111\x01"', "malformed-json", "line 1, column 18", id="a control character"),
        pytest.param(b'"\\x4111111111111111"', "malformed-json", "line 1, column 2", id="an escape that is none"),
    ],
)
def test_a_body_is_refused_with_the_place_and_without_its_content(body: bytes, problem: str, where: str) -> None:
    with pytest.raises(Malformed) as refusal:
        exactjson.loads(body)
    assert refusal.value.status == 400
    assert refusal.value.problem_type == problem
    assert where in refusal.value.detail
    assert SECRET not in refusal.value.detail
    # What led here knows the whole body, and a log would print it.
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b" null ", None, id="null"),
        pytest.param(b"9" * 64, int("9" * 64), id="64 digits"),
        pytest.param(b"-0", 0, id="an int has no negative zero"),
        pytest.param(b"1e300", Decimal("1e300"), id="a large exponent"),
        pytest.param(b'"\\\\ud800"', "\\ud800", id="an escaped backslash is no surrogate"),
        pytest.param(b'["\\uD83D\\uDE00\\u00e9"]', ["\U0001f600é"], id="a pair in capitals"),
        pytest.param(b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}], id="the same name in two objects"),
        pytest.param(b'{"a": {"a": "a"}}', {"a": {"a": "a"}}, id="the same name at two levels"),
        pytest.param(b'"' + b"[" * 99 + b'"', "[" * 99, id="brackets in a text"),
        pytest.param(b'["\\"' + b"[" * 99 + b'"]', ['"' + "[" * 99], id="brackets in a text with a quote"),
    ],
)
def test_strict_json_is_read(body: bytes, value: object) -> None:
    read = exactjson.loads(body)
    assert (read, type(read)) == (value, type(value))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**60), 10**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=60,
)


@settings(deadline=None)
@given(JSON_VALUES, st.booleans())
def test_what_json_writes_is_read_back(value: object, ascii_only: bool) -> None:
    assert exactjson.loads(json.dumps(value, ensure_ascii=ascii_only).encode(), max_depth=99) == value


@settings(deadline=None)
@given(st.lists(st.sampled_from(["[", "]", '"', "\\", "{", "}", ",", ":", "1", "\\ud800", "NaN", "\n"]), max_size=80))
def test_what_is_read_of_scrambled_json_is_what_anybody_reads(parts: list[str]) -> None:
    body = "".join(parts).encode()
    # Whatever cannot be read must raise Malformed and nothing else.
    with suppress(Malformed):
        assert exactjson.loads(body, max_depth=3) == json.loads(body)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 40), st.sampled_from(['"["', '"\\\\"', '"\\"["']))
def test_the_depth_is_counted_exactly_whatever_lies_beside_it(depth: int, beside: int, text: str) -> None:
    body = (f"[{text},[]," * depth + "[]," * beside + "1" + "]" * depth) if depth else "[" + "[]," * beside + "1]"
    deepest = depth + 1 if depth else 2
    assert exactjson.loads(body.encode(), max_depth=deepest) is not None
    with pytest.raises(Malformed, match=f"deeper than {deepest - 1} "):
        exactjson.loads(body.encode(), max_depth=deepest - 1)


@pytest.mark.parametrize("end", ["", "\\"])
def test_escaped_quotes_without_end_do_not_cost_the_square_of_their_number(end: str) -> None:
    # Read naively, every quote begins a text that is searched to the end: a body of a mebibyte would take an hour. Only
    # another process can be stopped in the middle of that.
    reader = "import sys; from orderwright.kernel import exactjson; exactjson.loads(sys.stdin.buffer.read())"
    body = "[" + "[]," * 40 + '"' + '\\"' * 500_000 + end
    run = subprocess.run(
        [sys.executable, "-c", reader], input=body.encode(), capture_output=True, timeout=60, check=False
    )
    assert b"Malformed" in run.stderr


@pytest.mark.parametrize(
    ("value", "where"),
    [
        pytest.param("a\x00", (), id="the value itself"),
        pytest.param({"a\x00": 1}, (), id="a name is not repeated"),
        pytest.param({"a": {"b": [{"c\x00": 1}]}}, ("a", "b", 0), id="a name inside"),
        pytest.param([["x", "\x00"]], (0, 1), id="in a list of lists"),
        pytest.param([{"a": 1}, {"b": "x"}, 2, None, True, Decimal(1)], None, id="nowhere"),
        pytest.param(None, None, id="null"),
    ],
)
def test_nul_is_found_with_its_place(value: object, where: tuple[str | int, ...] | None) -> None:
    assert exactjson.find_nul(value) == where


def test_nul_is_left_to_validation() -> None:
    assert exactjson.find_nul(exactjson.loads(b'{"a": "\\u0000"}')) == ("a",)
