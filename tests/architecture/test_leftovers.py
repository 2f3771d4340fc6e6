"""Nothing half-done is left lying about: no printing where a log belongs, no note of work to come."""

import ast
import io
import re
import tokenize

import pytest

from tests.architecture.tree import Breach, assert_holds, calls, dotted, files, source_and_tests

NOTES = ("TODO", "FIXME", "XXX")
"""How work is put off; only comments and docstrings do it, a currency may well be called the last."""


def prints(source: str) -> list[Breach]:
    """Calls of `print`."""
    return [
        Breach(call.lineno, "print() is for the command line; say it in the log")
        for call in calls(ast.parse(source))
        if dotted(call.func) == "print"
    ]


def notes_of_work_to_come(source: str) -> list[Breach]:
    """Comments and docstrings that put work off."""
    note = re.compile(rf"\b({'|'.join(NOTES)})\b")
    return [
        Breach(token.start[0] + after, f"{match[0]} puts work off; do it, or say in words what is so and why")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT or token.string.startswith('"""')
        for after, line in enumerate(token.string.splitlines())
        if (match := note.search(line))
    ]


def test_only_the_command_line_prints() -> None:
    assert_holds(prints, files("src/**/*.py", but=["src/orderwright/cli/**/*.py"]))


def test_no_work_is_put_off() -> None:
    assert_holds(notes_of_work_to_come, source_and_tests())


def test_a_print_is_found_and_a_method_of_that_name_is_not() -> None:
    assert [breach.line for breach in prints("x = 1\nif x:\n    print(x)\n")] == [3]
    assert prints("console.print(x)\n") == []


@pytest.mark.parametrize("note", NOTES)
def test_a_note_of_work_to_come_is_found(note: str) -> None:
    assert [breach.line for breach in notes_of_work_to_come(f"x = 1\ny = 2  # {note}: later\n")] == [2]
    assert [breach.line for breach in notes_of_work_to_come(f'"""Why.\n\n{note} later\n"""\n')] == [3]


def test_a_currency_of_that_name_passes() -> None:
    assert notes_of_work_to_come('money = {"currency": "XXX"}\n') == []
