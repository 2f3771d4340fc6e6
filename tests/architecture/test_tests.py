"""A test that asserts nothing proves nothing."""

import ast

import pytest

from tests.architecture.tree import Breach, assert_holds, called, calls, dotted, files, functions

ASSERTING = ("assert_", "expect_")
"""How a helper that asserts is named."""


def idle_tests(source: str) -> list[Breach]:
    """Test functions that neither assert, nor expect an exception, nor call a helper that says it asserts."""
    return [
        Breach(
            function.lineno,
            f"{function.name} asserts nothing; assert what must hold, "
            "or call a helper whose name begins with assert_ or expect_",
        )
        for function in functions(source)
        if function.name.startswith("test") and not _asserts(function)
    ]


def _asserts(function: ast.AST) -> bool:
    if any(isinstance(node, ast.Assert) for node in ast.walk(function)):
        return True
    return any(dotted(call.func) == "pytest.raises" or called(call).startswith(ASSERTING) for call in calls(function))


def test_every_test_asserts_something() -> None:
    assert_holds(idle_tests, files("tests/**/test_*.py"))


def test_a_test_without_assertion_is_found() -> None:
    bad = "class TestX:\n    async def test_it_runs(self) -> None:\n        await go()\n        asserted()\n"
    assert [breach.line for breach in idle_tests(bad)] == [2]


@pytest.mark.parametrize(
    "proof", ["assert x", "with pytest.raises(E): f()", "await shop.expect_paid(x)", "assert_x(1)"]
)
def test_a_test_with_any_kind_of_assertion_passes(proof: str) -> None:
    assert idle_tests(f"async def test_x():\n    {proof}\n") == []
