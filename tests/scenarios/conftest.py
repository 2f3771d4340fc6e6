"""The shop that the stories happen in: all in this process, and each service in its own, on each of the brokers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.processes import Processes, processes, tidy_up
from tests.shop import Shop, open_shop, visit

IN_PROCESS = "sqlite, in-process"
PREMISES = (IN_PROCESS, "postgres, redis", "postgres, rabbitmq", "postgres, kafka")


class Installations:
    """Platforms that run while stories are told, one a broker; starting one takes longer than most stories."""

    def __init__(self, factory: pytest.TempPathFactory, stack: ExitStack) -> None:
        self._factory = factory
        self._stack = stack
        self._running: dict[str, Processes] = {}

    def on(self, broker: str) -> Processes:
        """The one on that broker."""
        if broker not in self._running:
            # One at a time: a story is about its own platform, not about how many this machine can bear.
            self._stack.close()
            folder = self._factory.mktemp(f"on-{broker}")
            self._running = {broker: self._stack.enter_context(processes(folder, broker))}
        return self._running[broker]


@pytest.fixture(scope="session")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    """Platforms in processes of their own."""
    with ExitStack() as stack:
        yield Installations(tmp_path_factory, stack)


@pytest.fixture(params=PREMISES)
async def shop(request: pytest.FixtureRequest, tmp_path: Path, installations: Installations) -> AsyncIterator[Shop]:
    """The whole platform on real ports, wherever it runs."""
    if request.param == IN_PROCESS:
        async with open_shop(tmp_path) as opened:
            yield opened
        return
    async with visit(installations.on(request.param.partition(", ")[2])) as opened:
        await tidy_up(opened)
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell all stories on one installation before the next one is started."""
    told = [item for item in items if "installations" in getattr(item, "fixturenames", ())]
    order = {id(item): PREMISES.index(item.callspec.params["shop"]) for item in told}  # type: ignore[attr-defined]
    ordered = iter(sorted(told, key=lambda item: order[id(item)]))
    items[:] = [next(ordered) if id(item) in order else item for item in items]
