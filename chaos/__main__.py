"""`python -m chaos --minutes 5 --broker redis --seed 1`: exits with 0 when every promise held, else with 1."""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from chaos.faults import KINDS, schedule
from chaos.report import as_json, markdown, story
from chaos.run import Wanted, run
from chaos.servers import BROKERS
from orderwright.kernel.telemetry import configure_logs
from tools.backends.server import CannotStart
from tools.fleet import DidNotStart

FOLDER = Path(__file__).parents[1] / ".chaos"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Real faults on real processes and servers")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--broker", choices=sorted(BROKERS), default="redis")
    parser.add_argument("--seed", type=int, default=None, help="drawn when it is not given")
    parser.add_argument("--customers", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=sorted(KINDS), help="no other faults than these")
    parser.add_argument("--folder", type=Path, default=None, help="where data, logs and reports go")
    parser.add_argument("--list", action="store_true", help="show the faults of that seed, and do nothing")
    chosen = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    kinds = tuple(chosen.only) if chosen.only else None
    if chosen.list:
        for fault in schedule(seed, chosen.minutes * 60, *(() if kinds is None else (kinds,))):
            sys.stdout.write(fault.told() + "\n")
        return 0
    now = datetime.now(UTC)
    folder = (chosen.folder or FOLDER) / f"{now:%Y%m%dT%H%M%S}-{chosen.broker}-{seed}"
    wanted = Wanted(seed, chosen.broker, chosen.minutes * 60, folder, chosen.customers, kinds)
    # What is under test reads its settings from the environment, and so does the auditor here.
    for name in [name for name in os.environ if name.startswith("ORDERWRIGHT_")]:
        del os.environ[name]
    configure_logs(form="console", level="error")
    return _carry_out(wanted, now)


def _carry_out(wanted: Wanted, now: datetime) -> int:
    began_s = time.monotonic()

    def tell(line: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - began_s:6.1f}] {line}\n")
        sys.stdout.flush()

    # What was started must be ended however the run is ended. A shell has its background work ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            outcome = runner.run(run(wanted, tell))
    except (CannotStart, DidNotStart) as error:
        sys.stderr.write(f"chaos: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("chaos: broken off; everything is ended\n")
        return 130
    named = wanted.folder / f"{now:%Y-%m-%d}-postgres-{wanted.broker}"
    named.with_suffix(".md").write_text(markdown(outcome, now.date()))
    named.with_suffix(".json").write_text(as_json(outcome))
    tell(story(outcome))
    tell(f"the report: {named.with_suffix('.md')}")
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
