"""Every module says why it exists, the empty ones too."""

import ast

import pytest

from tests.architecture.tree import Breach, assert_holds, source_and_tests


def silent_module(source: str) -> list[Breach]:
    """The module when it has no docstring, or an empty one."""
    if (ast.get_docstring(ast.parse(source)) or "").strip():
        return []
    return [Breach(1, "the module does not say why it exists; begin it with a docstring")]


def test_every_module_says_why_it_exists() -> None:
    assert_holds(silent_module, source_and_tests())


@pytest.mark.parametrize("source", ["", "x = 1\n", "# only a comment\n", '"""  """\n', 'x = 1\n"""Too late."""\n'])
def test_a_module_that_does_not_say_why_is_found(source: str) -> None:
    assert silent_module(source)
    assert silent_module(f'"""Why."""\n{source}') == []
