"""What only the kernel may do: begin a task of its own, and commit. Both belong to the edge, where they are watched."""

import ast

import pytest

from tests.architecture.tree import Breach, assert_holds, called, calls, dotted, files, full_names

LOOSE = {"asyncio.create_task", "asyncio.ensure_future"}


def loose_tasks(source: str) -> list[Breach]:
    """Tasks that nobody waits for: their failures vanish, and so may they. Those of a TaskGroup are waited for."""
    tree = ast.parse(source)
    groups = _task_groups(tree)
    places = [(line, name) for line, name in full_names(source) if name in LOOSE]
    for call in calls(tree):
        owner = dotted(call.func).rpartition(".")[0]
        if isinstance(call.func, ast.Attribute) and called(call) == "create_task" and owner not in groups | {"asyncio"}:
            places.append((call.lineno, f"{owner or 'loop'}.create_task"))
    says = "begins a task that nobody waits for; use `async with asyncio.TaskGroup() as …`, or a job of the manifest"
    return [Breach(line, f"{name} {says}") for line, name in places]


def _task_groups(tree: ast.AST) -> set[str]:
    return {
        dotted(item.optional_vars)
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if isinstance(item.context_expr, ast.Call) and called(item.context_expr) == "TaskGroup" and item.optional_vars
    }


def commits(source: str) -> list[Breach]:
    """Calls of `commit` on anything."""
    return [
        Breach(call.lineno, "commits here; the edge commits, once, when the whole unit of work is done")
        for call in calls(ast.parse(source))
        if isinstance(call.func, ast.Attribute) and call.func.attr == "commit"
    ]


def test_only_the_kernel_begins_tasks() -> None:
    assert_holds(loose_tasks, files("src/**/*.py", but=["src/orderwright/kernel/**/*.py"]))


def test_only_the_kernel_commits() -> None:
    assert_holds(commits, files("src/**/*.py", but=["src/orderwright/kernel/**/*.py"]))


@pytest.mark.parametrize(
    "bad",
    [
        "import asyncio\nasyncio.create_task(f())",
        "import asyncio as aio\naio.ensure_future(f())",
        "from asyncio import create_task\ncreate_task(f())",
        "import asyncio\nasyncio.get_running_loop().create_task(f())",
        "self.loop.create_task(f())",
    ],
)
def test_a_loose_task_is_found(bad: str) -> None:
    assert len(loose_tasks(bad)) == 1


def test_the_tasks_of_a_group_pass() -> None:
    good = (
        "import asyncio\nasync def f():\n    async with asyncio.TaskGroup() as tasks:\n        tasks.create_task(g())\n"
    )
    assert loose_tasks(good) == []


@pytest.mark.parametrize("bad", ["uow.commit()", "await session.commit()", "with x: engine.connect().commit()"])
def test_a_commit_is_found(bad: str) -> None:
    assert len(commits(f"async def f():\n    {bad}")) == 1
