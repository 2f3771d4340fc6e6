"""Every promise names tests that would catch its breach, and they exist."""

import re

from tests.architecture.tree import ROOT, functions

_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_PROMISE = re.compile(r"^(\d+)\. ", re.MULTILINE)


def missing(page: str) -> list[str]:
    """Tests that `page` names and nobody wrote."""
    return [
        f"{file}::{test}"
        for file, test in _NAMED.findall(page)
        if not (ROOT / file).exists() or test not in {f.name for f in functions((ROOT / file).read_text())}
    ]


def promises(page: str) -> list[str]:
    """The numbered promises of `page`, each with what stands below it."""
    numbered = page.partition("## What is not promised")[0]
    return _PROMISE.split(numbered)[2::2]


def test_every_promise_names_tests_that_exist() -> None:
    page = (ROOT / "docs/promises.md").read_text()
    assert missing(page) == []
    assert len(promises(page)) >= 20
    assert [promise[:60] for promise in promises(page) if not _NAMED.search(promise)] == []


def test_a_test_that_does_not_exist_is_found() -> None:
    assert missing("`tests/e2e/test_kill.py::test_nothing`, `tests/none.py::test_x`") == [
        "tests/e2e/test_kill.py::test_nothing",
        "tests/none.py::test_x",
    ]


def test_promises_are_counted_in_their_order() -> None:
    page = (ROOT / "docs/promises.md").read_text()
    assert [int(number) for number in _PROMISE.findall(page)] == list(range(1, len(promises(page)) + 1))
