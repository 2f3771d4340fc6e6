"""Money never becomes a binary float: 0.1 + 0.2 is not 0.3, and a cent that is lost is lost for good.

Seconds may be floats; a name that ends in `_s` says that it holds seconds.
"""

import ast

import pytest

from tests.architecture.tree import Breach, assert_holds, calls, dotted, files

MONEY_PATHS = (
    "src/orderwright/contracts/**/*.py",
    *(
        f"src/orderwright/services/*/{room}{end}"
        for room in ("domain", "actions", "store")
        for end in (".py", "/**/*.py")
    ),
)
SECONDS = "_s"


def floats(source: str) -> list[Breach]:
    """Calls of `float`, and annotations that speak of it where it cannot be seconds."""
    tree = ast.parse(source)
    found = [
        Breach(call.lineno, "float() loses money; use Decimal, or whole minor units")
        for call in calls(tree)
        if dotted(call.func) == "float"
    ]
    for line, name, annotation in _annotations(tree):
        if not name.endswith(SECONDS) and any(dotted(part) == "float" for part in ast.walk(annotation)):
            found.append(
                Breach(line, f"{name} is a float; use Decimal or whole minor units, or end it in _s if it is seconds")
            )
    return found


def _annotations(tree: ast.AST) -> list[tuple[int, str, ast.expr]]:
    found: list[tuple[int, str, ast.expr]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation:
            found.append((node.lineno, node.arg, node.annotation))
        elif isinstance(node, ast.AnnAssign):
            found.append((node.lineno, dotted(node.target), node.annotation))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
            found.append((node.lineno, node.name, node.returns))
    return found


def test_no_money_path_knows_floats() -> None:
    assert_holds(floats, files(*MONEY_PATHS))


@pytest.mark.parametrize(
    "bad",
    [
        "x = float(amount)",
        "def f(amount: float): ...",
        "def f(*, amount: Decimal | float): ...",
        "def total() -> dict[str, float]: ...",
        "class A:\n    price: float = 0.0",
    ],
)
def test_a_float_that_may_be_money_is_found(bad: str) -> None:
    assert floats(bad)


def test_seconds_may_be_floats() -> None:
    assert floats("def delay_s(attempt: int, first_s: float) -> float: ...") == []
