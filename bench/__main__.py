"""`make bench`: complete orders a second, latencies below that, and what PostgreSQL alone would do with the same rows.

python -m bench --shapes postgres+redis,sqlite+memory --orders 3000
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from bench.installation import Installation, Shape, installed
from bench.line import Line, observe
from bench.measuring import as_fast_as_answered, at_rate
from bench.report import write
from bench.studies import STUDIES, Bench, carry_out
from bench.wal import make_wal_files
from tools.backends.__main__ import chosen_folder, up, urls_of
from tools.quickest_python import probed

SHAPES = {
    f"{database}+{broker}{where}": Shape(f"{database}+{broker}{where}", broker, database, spread, copies)
    for database, broker in (
        ("postgres", "redis"),
        ("postgres", "kafka"),
        ("postgres", "rabbitmq"),
        ("sqlite", "memory"),
    )
    for where, spread, copies in (
        ("", "together" if database == "sqlite" else "separate", 1),
        ("/halves", "halves", 1),
        ("/together", "together", 1),
        ("/copies", "separate", 2),
    )
    if database != "sqlite" or not where
}
DEFAULT = ",".join(name for name in SHAPES if "copies" not in name)
AT_ONCE = (64, 192)
SHARES = (0.25, 0.5, 0.8)
LINE_S = 10
"""So long pgbench runs before and after each shape."""


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--shapes", default=DEFAULT)
    parser.add_argument("--orders", type=int, default=3000, help="of each run of the closed loop")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run of the open loop and of pgbench")
    parser.add_argument("--without-latency", action="store_true")
    parser.add_argument("--studies", default="", help=f"instead, how cost depends on things: {','.join(STUDIES)}")
    parser.add_argument("--soak-minutes", type=float, default=60.0)
    parser.add_argument("--to", type=Path, default=Path("bench/results"))
    asked = parser.parse_args()
    names = [name.strip() for name in asked.shapes.split(",") if name.strip()]
    results: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {_cores()} cores, {_python()}",
        "shapes": {},
        "studies": {},
    }
    for study in filter(None, asked.studies.split(",")):
        for name in names:
            _say(f"{study} on {name}")
            told = asyncio.run(carry_out(study, Bench(SHAPES[name], _servers_of(SHAPES[name]), asked, _say)))
            results["studies"][f"{study}, {name}"] = {"about": STUDIES[study].__doc__, "rows": told}
    measuring = Measuring(asked, results)
    for name in sorted(() if asked.studies else names, key=lambda one: SHAPES[one].database != "postgres"):
        with tempfile.TemporaryDirectory() as folder:
            results["shapes"][name] = measuring.measure(SHAPES[name], Path(folder))
    write(results, asked.to)


class Measuring:
    """One run over several shapes, each beside the line of the same minutes: machines differ from themselves."""

    def __init__(self, asked: argparse.Namespace, results: dict[str, Any]) -> None:
        self._asked = asked
        self._results = results
        self._line: Line | None = None

    def measure(self, shape: Shape, folder: Path) -> dict[str, Any]:
        """What a platform of that shape does."""
        urls = _servers_of(shape)
        _say(f"{shape.name}: starting")
        began_s = time.monotonic()
        with installed(shape, folder, urls) as installation:
            _say(f"{shape.name}: ready after {time.monotonic() - began_s:.1f} s")
            return asyncio.run(self._on(installation, shape, urls))

    async def _on(self, installation: Installation, shape: Shape, urls: Mapping[str, str]) -> dict[str, Any]:
        await asyncio.sleep(2)
        await installation.fill_shelves()
        if shape.database == "postgres" and self._line is None:
            self._line = await self._first_line(installation, urls)
        await installation.warm_up()
        told: dict[str, Any] = {"runs": {}, "line_per_s": []}
        await self._note_line(told)
        for at_once in AT_ONCE:
            told["runs"][at_once] = await as_fast_as_answered(installation, self._asked.orders, at_once)
            _say(f"{shape.name}: {at_once} customers: {told['runs'][at_once]}")
        await self._note_line(told)
        told["orders_per_s"] = max(run["orders_per_s"] for run in told["runs"].values())
        if told["line_per_s"]:
            told["ratio"] = round(told["orders_per_s"] / mean(told["line_per_s"]), 2)
            _say(f"{shape.name}: pgbench's line before and after: {told['line_per_s']}")
        if not self._asked.without_latency:
            told["latency"] = {}
            for share in SHARES:
                rate = told["orders_per_s"] * share
                told["latency"][share] = await at_rate(installation, rate, self._asked.seconds)
                _say(f"{shape.name}: at {share:.0%}: {told['latency'][share]}")
        audit = await asyncio.to_thread(installation.audited)
        told["audit"] = "no finding" if audit["exit"] == 0 else audit
        _say(f"{shape.name}: {told['orders_per_s']} orders/s, the auditor has {told['audit']}")
        return told

    async def _first_line(self, installation: Installation, urls: Mapping[str, str]) -> Line:
        _say("pgbench's line: looking what one order writes")
        customers = await installation.customers()

        async def place_one() -> None:
            sent = await customers.as_fast_as_answered(1, at_once=1)
            await installation.until_at_rest(sent.began_s)
            await asyncio.sleep(0.3)

        order = await observe(installation.database, place_one)
        line = Line(installation.database, urls["ORDERWRIGHT_TEST_POSTGRES_URL"], order)
        by_clients = await line.measure(seconds=round(self._asked.seconds))
        self._results["line"] = {
            "orders_per_s": round(max(by_clients.values()), 1),
            "by_clients": {number: round(rate, 1) for number, rate in by_clients.items()},
            "transactions_per_order": order.transactions,
            "rows_per_order": order.rows,
        }
        _say(f"pgbench's line: {self._results['line']}")
        return line

    async def _note_line(self, told: dict[str, Any]) -> None:
        if self._line is not None:
            told["line_per_s"].append(round(await self._line.once_more(seconds=LINE_S), 1))


def _servers_of(shape: Shape) -> dict[str, str]:
    """Start what a shape stands on, with its WAL files there, and no more.

    A broker that nobody uses takes processor time from the others.
    """
    up(chosen_folder(), sorted({"postgres", shape.broker} - {"memory"}), require=True)
    urls = urls_of(chosen_folder())
    asyncio.run(make_wal_files(urls["ORDERWRIGHT_TEST_POSTGRES_URL"]))
    return urls


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _python() -> str:
    """Which Python, and how quick a build of it: that makes more of a difference than its version."""
    told = probed(Path(sys.executable))
    speed = "" if told is None else f" ({told[1] * 1000:.1f} ms for the probe of tools/quickest_python.py)"
    return f"Python {platform.python_version()}{speed}"


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")


if __name__ == "__main__":
    main()
