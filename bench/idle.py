"""What a platform costs that nobody uses: starts it on each of its bases, waits, and prints a table as Markdown.

    python -m bench.idle                       # embedded, and each service in its process on PostgreSQL and each broker
    python -m bench.idle --on embedded redis --seconds 30

Real servers are found as tests find them (`make backends`). CPU time and wake-ups are read in /proc, which takes Linux;
a busy machine changes the first a little and the second somewhat.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import redis

from bench.usage import Use, of_server
from tests.brokers import broker_url, remove_topics
from tests.databases import fresh_databases, needed
from tools.fleet import SEPARATE, TOGETHER, Fleet, running

EMBEDDED: Final = "embedded"
BASES: Final = (EMBEDDED, "redis", "rabbitmq", "kafka")
WARMS_UP_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment."""

    processes: Mapping[str, Use]
    server: Use | None
    """The broker's."""
    commits: int
    commands: int | None
    """As Redis counts them; the other brokers tell no such number over their own protocol."""
    at_s: float


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--on", nargs="*", choices=BASES, default=BASES)
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args()
    sys.stdout.write(f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n\n")
    for base in chosen.on:
        with installed(base) as fleet:
            time.sleep(WARMS_UP_S)
            before = asyncio.run(read(fleet, base))
            time.sleep(chosen.seconds)
            after = asyncio.run(read(fleet, base))
        _print(base, before, after)
    remove_topics()


@contextmanager
def installed(base: str) -> Iterator[Fleet]:
    """The platform with the demo's goods in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        embedded = base == EMBEDDED
        with fresh_databases("sqlite" if embedded else "postgres", folder) as database:
            broker = "memory://" if embedded else broker_url(base)
            fleet = Fleet(folder, database, broker, groups=TOGETHER if embedded else SEPARATE)
            with running(fleet):
                if not embedded:
                    fleet.load_demo()
                yield fleet


async def read(fleet: Fleet, base: str) -> Reading:
    """All that is counted, now."""
    return Reading(
        {member.name: Use.of(member.pid) for member in fleet.members},
        of_server(base),
        0 if base == EMBEDDED else await _commits(fleet),
        _commands() if base == "redis" else None,
        time.monotonic(),
    )


async def _commits(fleet: Fleet) -> int:
    url = fleet.environment["ORDERWRIGHT_DATABASE_URL"]
    connection = await asyncpg.connect(needed("PostgreSQL"))
    try:
        like = urlsplit(url).path.removeprefix("/") + "\\_%"
        return int(await connection.fetchval(COMMITS, like))
    finally:
        await connection.close()


COMMITS: Final = "SELECT sum(xact_commit)::bigint FROM pg_stat_database WHERE datname LIKE $1"


def _commands() -> int:
    with redis.Redis.from_url(needed("Redis")) as client:
        return int(client.info("stats")["total_commands_processed"])


def _print(base: str, before: Reading, after: Reading) -> None:
    took_s = after.at_s - before.at_s
    used = {name: use.since(before.processes[name]) for name, use in after.processes.items()}
    lines = [f"## {base}", "", "| process | CPU, ms a second | wake-ups a second |", "|---|---|---|"]
    lines += [_row(name, use, took_s) for name, use in used.items()]
    total = Use(sum(use.cpu_s for use in used.values()), sum(use.wake_ups for use in used.values()))
    lines.append(_row("together", total, took_s))
    if before.server and after.server:
        lines.append(_row("the broker's server", after.server.since(before.server), took_s))
    lines += ["", *_sentences(base, before, after, took_s), ""]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _row(name: str, use: Use, took_s: float) -> str:
    return f"| {name.removesuffix('-0')} | {use.cpu_s / took_s * 1000:.1f} | {use.wake_ups / took_s:.1f} |"


def _sentences(base: str, before: Reading, after: Reading, took_s: float) -> Sequence[str]:
    if base == EMBEDDED:
        return [f"In {took_s:.0f} s of quiet."]
    said = [f"In {took_s:.0f} s of quiet; {(after.commits - before.commits) / took_s:.1f} SQL transactions a second"]
    if before.commands is not None and after.commands is not None:
        # Each reading is one itself, and its connection says three more.
        said.append(f"and {(after.commands - before.commands - 4) / took_s:.1f} commands at Redis a second")
    return [" ".join(said) + "."]


if __name__ == "__main__":
    main()
