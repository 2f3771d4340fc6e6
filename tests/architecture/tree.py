"""The source tree as the rules see it: where files are, what names mean, and how a breach is told.

A rule is a pure function from a file's text to its breaches, so that each can be shown to fail.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "src/orderwright"


class Breach(NamedTuple):
    """One place that breaks a rule, and what would be right."""

    line: int
    says: str


Rule = Callable[[str], list[Breach]]


def files(*patterns: str, but: Iterable[str] = ()) -> list[Path]:
    """The Python files that match any pattern, and none of `but`; both are relative to the repository."""
    left_out = {path for pattern in but for path in ROOT.glob(pattern)}
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)} - left_out)


def source_and_tests() -> list[Path]:
    """Every Python file that people write here."""
    return files("src/**/*.py", "tests/**/*.py")


def assert_holds(rule: Rule, paths: list[Path]) -> None:
    """Each breach of `rule` in `paths` by file and line. A rule that reads nothing holds nothing, so that fails too."""
    __tracebackhide__ = True
    assert paths, "no files: the rule looks in the wrong place"
    told = [
        f"{path.relative_to(ROOT)}:{breach.line}: {breach.says}"
        for path in paths
        for breach in rule(path.read_text(encoding="utf-8"))
    ]
    assert not told, "\n" + "\n".join(told)


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in `source`, methods and nested ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """Every call inside `node`."""
    return (part for part in ast.walk(node) if isinstance(part, ast.Call))


def called(call: ast.Call) -> str:
    """The last name of what is called: `c` for `a.b.c()`."""
    return dotted(call.func).rpartition(".")[2]


def dotted(node: ast.AST) -> str:
    """`a.b.c` for a chain of names; what is no name is left empty, so `f().c` is `.c`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def full_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of whatever `source` uses of other modules, however it was imported.

    With `from datetime import datetime as dt`, `dt.now` is `datetime.datetime.now`.
    """
    tree = ast.parse(source)
    meaning = dict(_imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            first, _, rest = dotted(node).partition(".")
            if first in meaning:
                yield node.lineno, f"{meaning[first]}.{rest}".rstrip(".")


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                top = name.name.partition(".")[0]
                yield (name.asname, name.name) if name.asname else (top, top)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                yield name.asname or name.name, f"{node.module}.{name.name}"
