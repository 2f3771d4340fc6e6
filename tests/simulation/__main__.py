"""`make simulate`: run seeds, tell the story of one that fails, and see what each safeguard is good for."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

from tests.simulation import world
from tests.simulation.ablations import ABLATIONS, COMBINATIONS, REDUNDANT
from tests.simulation.faults import draw_plan
from tests.simulation.probes import REACHED_OFTEN, REACHED_SELDOM
from tests.simulation.workers import cores, in_chunks, open_stage, shrunk
from tests.simulation.world import Verdict

STORIES = 3
ENOUGH = 1000
"""So many seeds reach every hard state."""
ABLATION_SEEDS = 2000


def main(arguments: Sequence[str]) -> int:
    """Carry out what was asked; the exit status says whether every law held."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one, and tell its story")
    parser.add_argument("--digest", action="store_true", help="with --seed: its digest alone")
    parser.add_argument("--without", nargs="*", default=[], metavar="SAFEGUARD", help="with these removed")
    parser.add_argument("--within", type=int, default=ABLATION_SEEDS, help="with --ablations: how many seeds each")
    parser.add_argument("--ablations", action="store_true", help="remove each safeguard, and wait for a breach")
    parser.add_argument("--only", nargs="*", metavar="SAFEGUARD", help="with --ablations: remove all of these at once")
    parser.add_argument("--workers", type=int, default=cores(), help="processes")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return _one(asked.seed, asked.without, digest_only=asked.digest)
    if asked.ablations:
        removals = [tuple(asked.only)] if asked.only else [*((name,) for name in ABLATIONS), *COMBINATIONS]
        return _ablations(removals, range(asked.first, asked.first + asked.within), asked.workers)
    return _many(range(asked.first, asked.first + asked.seeds), asked.without, asked.workers)


def _one(seed: int, without: Sequence[str], *, digest_only: bool) -> int:
    with ExitStack() as stack:
        stage = open_stage(stack)
        for name in without:
            stack.enter_context(ABLATIONS[name]())
        verdict = world.run(draw_plan(seed), stage)
    if digest_only:
        _say(verdict.digest)
    else:
        _tell(verdict)
    return bool(verdict.breaches)


def _many(seeds: Sequence[int], without: Sequence[str], workers: int) -> int:
    reached: Counter[str] = Counter()
    failed: list[Verdict] = []
    started_s, done = time.monotonic(), 0
    for result in in_chunks(seeds, workers=workers, without=without):
        done += result.seeds
        reached.update(result.reached)
        failed += result.failed
        took_s = time.monotonic() - started_s
        _progress(f"{done}/{len(seeds)} seeds, {len(failed)} failed, {1000 * took_s / done:.0f} ms a seed")
    _progress("\n")
    _say(f"In how many of {done} seeds each state was reached:")
    for state, count in sorted(reached.items()):
        _say(f"{count:8}  {state}")
    quiet = [state for state in (*REACHED_OFTEN, *REACHED_SELDOM) if not reached[state]] if done >= ENOUGH else []
    if quiet and not without:
        _say(f"No seed reached: {'; '.join(quiet)}")
        return 1
    if not failed:
        _say(f"{done} seeds from {seeds[0]}: every law held, {time.monotonic() - started_s:.0f} s")
        return 0
    _tell_failures(failed, without)
    return 1


def _tell_failures(failed: list[Verdict], without: Sequence[str]) -> None:
    with ExitStack() as stack:
        stage = open_stage(stack)
        for name in without:
            stack.enter_context(ABLATIONS[name]())
        chosen = sorted(failed, key=lambda verdict: len(verdict.lines))[:STORIES]
        for verdict in sorted((shrunk(stage, one) for one in chosen), key=lambda one: len(one.lines)):
            _tell(verdict)
    _say(f"{len(failed)} seeds failed:")
    for verdict in sorted(failed, key=lambda one: one.plan.seed):
        _say(f"{verdict.plan.seed:8}  {verdict.breaches[0]}" + (" …" if len(verdict.breaches) > 1 else ""))


def _tell(verdict: Verdict) -> None:
    plan = verdict.plan
    _say(f"\nSeed {plan.seed}: {plan.orders} orders, chaos for {plan.chaos_s:.1f} s, {len(plan.rates)} kinds of fault")
    _say(f"  {', '.join(sorted(plan.rates))}\n")
    _say("\n".join(verdict.lines))
    _say(f"\n{'; '.join(verdict.breaches) or 'every law held'}\ndigest {verdict.digest}")


def _ablations(removals: Sequence[tuple[str, ...]], seeds: Sequence[int], workers: int) -> int:
    surprises = 0
    _say(f"{'safeguards removed':<80} {'seeds':>6}  law broken")
    for names in removals:
        done, law = until_breach(names, seeds, workers)
        reason = REDUNDANT.get(names[0], "") if len(names) == 1 else ""
        surprises += not law and not reason
        _say(f"{' + '.join(names):<80} {done:>6}  {law or f'none: {reason}'}")
    return surprises > 0


def until_breach(names: Sequence[str], seeds: Sequence[int], workers: int) -> tuple[int, str]:
    """How many seeds it takes until a law is broken, and which."""
    seen: list[Verdict] = []
    done = 0
    for result in in_chunks(seeds, workers=workers, without=names, until_breach=True):
        done += result.seeds
        seen += result.failed
        _progress(f"{' + '.join(names)}: {done} seeds")
        if seen:
            break
    _progress("\n")
    earliest = min(seen, key=lambda verdict: verdict.plan.seed, default=None)
    return (done, "") if earliest is None else (earliest.plan.seed - seeds[0] + 1, earliest.breaches[0])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _progress(text: str) -> None:
    sys.stderr.write("\n" if text == "\n" else f"\r{text}   ")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
