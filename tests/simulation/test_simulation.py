"""A batch of seeds holds every law and reaches the hard states; a seed is one run; safeguards are missed when gone.

The long run is `make simulate SEEDS=20000`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
import sqlalchemy as sa

from orderwright.kernel.databases.direct import DirectConnection
from tests.simulation import world
from tests.simulation.faults import draw_plan
from tests.simulation.probes import REACHED_OFTEN
from tests.simulation.stage import Stage
from tests.simulation.workers import Result, open_stage, run_seeds

ROOT = Path(__file__).parents[2]
BATCH = range(1, 101)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        yield open_stage(stack)


@pytest.fixture(scope="module")
def batch(stage: Stage) -> Result:
    return run_seeds(stage, BATCH)


def test_every_law_holds_whatever_goes_wrong(batch: Result) -> None:
    assert [(verdict.plan.seed, verdict.breaches) for verdict in batch.failed] == []


def test_the_batch_reaches_the_hard_states(batch: Result) -> None:
    assert [state for state in REACHED_OFTEN if not batch.reached[state]] == []


def test_a_seed_is_the_same_run_in_another_process(stage: Stage) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--digest", "--seed", "18"]
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": "src"}
    there = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == world.run(draw_plan(18), stage).digest


def test_the_short_way_of_statements_is_no_other_way(stage: Stage) -> None:
    short = [world.run(draw_plan(seed), stage).digest for seed in range(1, 6)]
    with patch.object(DirectConnection, "execute", sa.Connection.execute):
        assert [world.run(draw_plan(seed), stage).digest for seed in range(1, 6)] == short


@pytest.mark.parametrize(
    ("safeguard", "seeds"),
    [("inbox check", 5), ("Idempotency-Key claims", 10), ("outbox in the transaction", 40)],
)
def test_a_safeguard_that_is_taken_away_is_missed(stage: Stage, safeguard: str, seeds: int) -> None:
    assert run_seeds(stage, range(1, seeds + 1), [safeguard], until_breach=True).failed
