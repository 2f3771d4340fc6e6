"""Files and functions stay small enough to be read at one go (DESIGN, section 2)."""

from tests.architecture.tree import Breach, assert_holds, functions, source_and_tests

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 70


def long_file(source: str) -> list[Breach]:
    """The file itself when it is too long."""
    length = len(source.splitlines())
    if length <= MOST_LINES_OF_A_FILE:
        return []
    return [
        Breach(
            MOST_LINES_OF_A_FILE + 1,
            f"the file has {length} lines, {MOST_LINES_OF_A_FILE} are the most; "
            "make it a package of the same name, one file per use case",
        )
    ]


def long_functions(source: str) -> list[Breach]:
    """Functions that are too long, counted from `def` to their last line."""
    return [
        Breach(
            function.lineno,
            f"{function.name} has {length} lines, {MOST_LINES_OF_A_FUNCTION} are the most; "
            "give what it does in between a name of its own",
        )
        for function in functions(source)
        if (length := (function.end_lineno or function.lineno) - function.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    ]


def test_no_file_is_too_long() -> None:
    assert_holds(long_file, source_and_tests())


def test_no_function_is_too_long() -> None:
    assert_holds(long_functions, source_and_tests())


def test_a_file_of_401_lines_is_found_and_one_of_400_is_not() -> None:
    assert [breach.line for breach in long_file("x = 1\n" * 401)] == [401]
    assert long_file("x = 1\n" * 400) == []


def test_a_function_of_71_lines_is_found_and_one_of_70_is_not() -> None:
    for definition in ("def f():", "async def f():"):
        assert [breach.line for breach in long_functions(f"\n{definition}\n" + "    x = 1\n" * 70)] == [2]
        assert long_functions(f"{definition}\n" + "    x = 1\n" * 69) == []
