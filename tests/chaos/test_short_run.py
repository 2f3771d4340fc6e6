"""The platform's promises hold through a short run of real faults, on servers of this test's own."""

import os

import pytest

from chaos.report import document, markdown, story
from chaos.run import Wanted, run
from chaos.servers import BROKERS
from orderwright.kernel.clock import SystemClock
from tests.databases import REQUIRED
from tools.backends.__main__ import chosen_folder
from tools.backends.servers import Postgres

SEED = 3672
"""Kills before and after a COMMIT, one unanswered, both servers killed, a process stopped, messages torn: all early."""
LENGTH_S = 45.0


async def test_every_promise_holds_through_45_seconds_of_faults() -> None:
    folder = chosen_folder().resolve() / "chaos" / f"test-{os.getpid()}"
    lacks = [
        server.needs
        for server in (Postgres("postgres", folder, 0), BROKERS["redis"]("redis", folder, 0))
        if not server.available()
    ]
    if lacks and os.environ.get(REQUIRED):
        pytest.fail(f"not here: {lacks}")
    if lacks:
        pytest.skip(f"not here: {lacks}")
    outcome = await run(Wanted(SEED, "redis", LENGTH_S, folder), tell=lambda _: None)
    assert outcome.broken == [], story(outcome)
    told = document(outcome)
    assert sum(told["orders"].values()) >= 20, "hardly anything was at stake"
    assert sum(kind["struck"] for kind in told["faults"].values()) >= 8
    assert "Broken promises: 0" in markdown(outcome, SystemClock().now().date())
