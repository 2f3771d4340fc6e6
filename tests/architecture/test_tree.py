"""The rules stand on these few helpers; when they look away, every rule passes."""

import pytest

from tests.architecture.tree import Breach, assert_holds, files, full_names, source_and_tests


def test_a_breach_is_told_by_file_and_line() -> None:
    here = files("tests/architecture/test_tree.py")
    with pytest.raises(AssertionError, match=r"tests/architecture/test_tree\.py:7: is wrong"):
        assert_holds(lambda _: [Breach(7, "is wrong")], here)


def test_a_rule_that_reads_no_file_fails() -> None:
    with pytest.raises(AssertionError, match="wrong place"):
        assert_holds(lambda _: [], files("src/nowhere/*.py"))


def test_the_tree_holds_both_source_and_tests() -> None:
    parts = {path.parts[-2] for path in source_and_tests()}
    assert {"kernel", "contracts", "architecture"} <= parts


def test_files_can_be_left_out() -> None:
    assert files("tests/architecture/*.py", but=["tests/**/*.py"]) == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import a.b\na.b.c()", "a.b.c"),
        ("import a.b as x\nx.c()", "a.b.c"),
        ("from a import b as x\nx.c", "a.b.c"),
        ("def f():\n    from a.b import c\n    c()", "a.b.c"),
    ],
)
def test_a_name_is_known_however_it_was_imported(source: str, name: str) -> None:
    assert name in {found for _, found in full_names(source)}
