"""Many seeds on every core: workers that keep one stage each and run chunks of seeds, also with safeguards removed.

A chunk runs in a child that is forked from a worker, and takes its garbage with it when it ends: to collect that would
be a tenth of the work.
"""

import os
import pickle
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.simulation import world
from tests.simulation.ablations import ABLATIONS
from tests.simulation.faults import draw_plan
from tests.simulation.stage import Stage, make_stage, staged
from tests.simulation.world import Verdict

CHUNK = 40
WARM_UP = range(1_000_001, 1_000_041)
"""Seeds that a worker runs before its first chunk, so that its children need not make every statement anew."""


@dataclass(slots=True)
class Result:
    """What became of a chunk of seeds."""

    seeds: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    """In how many seeds each state was reached."""
    failed: list[Verdict] = field(default_factory=list)


_kept = ExitStack()
_stages: list[Stage] = []
"""A worker's own stage."""


def open_stage(keep: ExitStack) -> Stage:
    """A stage that was stocked, until `keep` is closed."""
    keep.enter_context(staged())
    stage = make_stage()
    world.stock_up(stage)
    return stage


def run_seeds(stage: Stage, seeds: Sequence[int], without: Sequence[str] = (), *, until_breach: bool = False) -> Result:
    """Run `seeds`, with the safeguards `without` removed; `until_breach` ends with the first one that fails."""
    result = Result()
    with ExitStack() as stack:
        for name in without:
            stack.enter_context(ABLATIONS[name]())
        for seed in seeds:
            verdict = world.run(draw_plan(seed), stage)
            result.seeds += 1
            result.reached.update(set(verdict.reached))
            if verdict.breaches:
                result.failed.append(verdict)
                if until_breach:
                    break
    return result


def shrunk(stage: Stage, verdict: Verdict) -> Verdict:
    """The same law broken with as few kinds of fault as possible, found by leaving out one after the other."""
    smallest, law = verdict, _laws(verdict)
    for kind in sorted(verdict.plan.rates):
        tried = world.run(smallest.plan.without(kind), stage)
        if _laws(tried) & law:
            smallest = tried
    return smallest


def in_chunks(
    seeds: Sequence[int], *, workers: int, without: Sequence[str] = (), until_breach: bool = False
) -> Iterator[Result]:
    """Run all `seeds` on `workers` processes; results in the order of the seeds."""
    chunks = iter([seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)])
    with ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=_begin) as pool:
        running: deque[Future[Result]] = deque()
        while True:
            while len(running) < 2 * workers and (chunk := next(chunks, None)) is not None:
                running.append(pool.submit(_chunk, chunk, without, until_breach))
            if not running:
                return
            try:
                yield running.popleft().result()
            except GeneratorExit:
                for future in running:
                    future.cancel()
                raise


def cores() -> int:
    """How many processes may run at once here."""
    return len(os.sched_getaffinity(0))


def _begin() -> None:
    stage = open_stage(_kept)
    run_seeds(stage, WARM_UP)
    stage.settle()
    _stages.append(stage)


def _chunk(seeds: Sequence[int], without: Sequence[str], until_breach: bool) -> Result:
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(receiving)
            with os.fdopen(sending, "wb") as told:
                pickle.dump(run_seeds(_stages[0], seeds, without, until_breach=until_breach), told)
        except BaseException:
            # What a worker has to end is no business of its child's.
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as told:
        answer = told.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"The seeds from {seeds[0]} to {seeds[-1]} ended their process: see above")
    result: Result = pickle.loads(answer)
    return result


def _laws(verdict: Verdict) -> set[str]:
    return {breach.partition(":")[0] for breach in verdict.breaches}
