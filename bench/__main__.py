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
from typing import Any

from bench.customers import Customers
from bench.installation import Installation, Shape, installed
from bench.line import Line, observe
from bench.measuring import as_fast_as_answered, at_rate
from bench.report import write
from bench.studies import STUDIES, Bench, carry_out
from tools.backends.__main__ import chosen_folder, up, urls_of

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
    needed = {"postgres"} | {SHAPES[name].broker for name in names} - {"memory"}
    up(chosen_folder(), sorted(needed), require=True)
    urls = urls_of(chosen_folder())
    results: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {_cores()} cores, Python {platform.python_version()}",
        "shapes": {},
        "studies": {},
    }
    for study in filter(None, asked.studies.split(",")):
        for name in names:
            _say(f"{study} on {name}")
            told = asyncio.run(carry_out(study, Bench(SHAPES[name], urls, asked, _say)))
            results["studies"][f"{study}, {name}"] = {"about": STUDIES[study].__doc__, "rows": told}
    for name in sorted(() if asked.studies else names, key=lambda one: SHAPES[one].database != "postgres"):
        with tempfile.TemporaryDirectory() as folder:
            results["shapes"][name] = _measure(SHAPES[name], Path(folder), urls, asked, results)
    write(results, asked.to)


def _measure(
    shape: Shape, folder: Path, urls: Mapping[str, str], asked: argparse.Namespace, results: dict[str, Any]
) -> dict[str, Any]:
    _say(f"{shape.name}: starting")
    began_s = time.monotonic()
    with installed(shape, folder, urls) as installation:
        _say(f"{shape.name}: ready after {time.monotonic() - began_s:.1f} s")
        return asyncio.run(_on(installation, shape, urls, asked, results))


async def _on(
    installation: Installation,
    shape: Shape,
    urls: Mapping[str, str],
    asked: argparse.Namespace,
    results: dict[str, Any],
) -> dict[str, Any]:
    await asyncio.sleep(2)
    await installation.fill_shelves()
    customers = await installation.customers()
    if shape.database == "postgres" and "line" not in results:
        results["line"] = await _line(installation, customers, urls, asked.seconds)
    await installation.warm_up()
    told: dict[str, Any] = {"runs": {}}
    for at_once in AT_ONCE:
        told["runs"][at_once] = await as_fast_as_answered(installation, asked.orders, at_once)
        _say(f"{shape.name}: {at_once} customers: {told['runs'][at_once]}")
    told["orders_per_s"] = max(run["orders_per_s"] for run in told["runs"].values())
    if "line" in results:
        told["ratio"] = round(told["orders_per_s"] / results["line"]["orders_per_s"], 2)
    if not asked.without_latency:
        told["latency"] = {}
        for share in SHARES:
            rate = told["orders_per_s"] * share
            told["latency"][share] = await at_rate(installation, rate, asked.seconds)
            _say(f"{shape.name}: at {share:.0%}: {told['latency'][share]}")
    audit = await asyncio.to_thread(installation.audited)
    told["audit"] = "no finding" if audit["exit"] == 0 else audit
    _say(f"{shape.name}: {told['orders_per_s']} orders/s, the auditor has {told['audit']}")
    return told


async def _line(
    installation: Installation, customers: Customers, urls: Mapping[str, str], seconds: float
) -> dict[str, Any]:
    _say("pgbench's line: looking what one order writes")

    async def place_one() -> None:
        await customers.as_fast_as_answered(1, at_once=1)
        await installation.until_at_rest()
        await asyncio.sleep(0.3)

    order = await observe(installation.database, place_one)
    line = Line(installation.database, urls["ORDERWRIGHT_TEST_POSTGRES_URL"], order)
    by_clients = await line.measure(seconds=round(seconds))
    found = {
        "orders_per_s": round(max(by_clients.values()), 1),
        "by_clients": {number: round(rate, 1) for number, rate in by_clients.items()},
        "transactions_per_order": order.transactions,
        "rows_per_order": order.rows,
    }
    _say(f"pgbench's line: {found}")
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")


if __name__ == "__main__":
    main()
