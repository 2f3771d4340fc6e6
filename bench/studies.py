"""How the cost of an order depends on what is around it: one study a question, each a table.

python -m bench --studies growth,lines --shapes postgres+redis
"""

import asyncio
import tempfile
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.audit import make_books
from bench.installation import SPREADS, Installation, Shape, installed
from bench.measuring import as_fast_as_answered, at_rate
from bench.parts import timed_parts

TRIES: Final = 3
GROWTH: Final = (10_000, 100_000, 1_000_000)
LINES: Final = (1, 10, 100)
BACKLOG_EVENTS: Final = 100_000
AT_ONCE: Final = 96

Row = dict[str, Any]
Rows = AsyncIterator[Row]
Say = Callable[[str], None]
Study = Callable[["Bench"], Rows]


class Bench:
    """What a study needs: a shape, and how much to do."""

    def __init__(self, shape: Shape, urls: Mapping[str, str], asked: Namespace, say: Say) -> None:
        self.shape = shape
        self.orders: int = asked.orders
        self.seconds: float = asked.seconds
        self.soak_minutes: float = asked.soak_minutes
        self.say = say
        self._urls = urls

    @asynccontextmanager
    async def platform(
        self, shape: Shape | None = None, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[Installation]:
        """A platform of this shape, or another one, with enough on its shelves."""
        with (
            tempfile.TemporaryDirectory() as folder,
            installed(shape or self.shape, Path(folder), self._urls, settings) as made,
        ):
            await asyncio.sleep(2)
            await made.fill_shelves()
            await made.warm_up()
            yield made

    async def best(self, installation: Installation, orders: int | None = None, **who: Any) -> dict[str, Any]:
        """One closed loop, as a row of a table."""
        customers = await installation.customers(**who)
        told = await as_fast_as_answered(installation, orders or self.orders, AT_ONCE, customers)
        return {
            "orders/s": told["orders_per_s"],
            **_cost(told),
            "POST p99, ms": told["post_ms"].get("p99"),
            "answers": told["answers"],
        }

    async def cheapest(self, installation: Installation) -> dict[str, Any]:
        """The cheapest of a few closed loops: a slow moment of the machine makes orders dearer, and nothing cheaper."""
        rows = [await self.best(installation) for _ in range(TRIES)]
        return min(rows, key=lambda row: row["platform, ms of CPU an order"] + row["servers, ms of CPU an order"])


async def carry_out(name: str, bench: Bench) -> list[Row]:
    """The rows of that study's table, each told as soon as it is there."""
    rows = []
    async for row in STUDIES[name](bench):
        bench.say(f"{name}: {row}")
        rows.append(row)
    return rows


async def growth(bench: Bench) -> Rows:
    """The cheapest of three runs with 10 thousand, 100 thousand and a million completed orders in the tables."""
    async with bench.platform() as platform:
        there = 0
        for size in GROWTH:
            await make_books(platform.database, size - there, label=f"book-{size}")
            await platform.settle()
            there = size
            yield {"orders in the tables": size, **await bench.cheapest(platform)}


async def lines(bench: Bench) -> Rows:
    """Orders of 1, 10 and 100 lines."""
    async with bench.platform() as platform:
        goods = await platform.add_products(max(LINES))
        for number in LINES:
            orders = max(200, bench.orders // number)
            yield {"lines": number, **await bench.best(platform, orders, lines=number, only=goods)}


async def hot(bench: Bench) -> Rows:
    """Everybody wants the same product, and everybody something else."""
    async with bench.platform() as platform:
        yield {"products": "one for all", **await bench.best(platform, lines=1, only=("product-123",))}
        yield {"products": "dozens", **await bench.best(platform, lines=1)}


async def processes(bench: Bench) -> Rows:
    """Each service in a process of its own, all of them in two halves, all in one; one copy of each process and two."""
    for spread in SPREADS:
        for copies in (1, 2):
            async with bench.platform(replace(bench.shape, spread=spread, copies=copies)) as platform:
                yield {"services": spread, "copies": copies, **await bench.best(platform)}


async def features(bench: Bench) -> Rows:
    """What is paid for the gateway, Idempotency-Keys and logs: each left out in turn."""
    async with bench.platform() as platform:
        yield {"left out": "nothing", **await bench.best(platform)}
        yield {"left out": "the gateway", **await bench.best(platform, past_the_gateway=True)}
        yield {"left out": "Idempotency-Key", **await bench.best(platform, keys=False)}
    async with bench.platform(settings={"ORDERWRIGHT_LOG_LEVEL": "error"}) as platform:
        yield {"left out": "logs below errors", **await bench.best(platform)}


async def parts(bench: Bench) -> Rows:  # noqa: ARG001 - a study is asked so
    """What cannot be left out, each timed alone in this process: tokens, traces, metrics, lines of log."""
    async for row in timed_parts():
        yield row


async def overload(bench: Bench) -> Rows:
    """Orders at twice the best rate, and then at half of it: what is refused, what is finished, what is left of it."""
    async with bench.platform() as platform:
        best = (await bench.best(platform))["orders/s"]
        for share in (0.5, 2.0, 0.5):
            told = await at_rate(platform, best * share, bench.seconds)
            yield {"asked": f"{share:.0%} of {best}/s", **_shown(told), "platform, MB": _memory_mb(platform)}


async def backlog(bench: Bench) -> Rows:
    """The notification service is stopped until 100,000 events wait for it, and then catches up."""
    async with bench.platform(replace(bench.shape, spread="separate")) as platform:
        [late] = platform.fleet.of("notification")
        late.stop()
        customers, events = await platform.customers(), 0
        while events < BACKLOG_EVENTS:
            await customers.log_in()
            await customers.as_fast_as_answered(2000, at_once=AT_ONCE)
            events = (await platform.backlog())["notification"]
            bench.say(f"backlog: {events} events wait")
        late.start()
        late.until_ready()
        began_s, most_mb = time.monotonic(), 0.0
        while (await platform.backlog())["notification"]:
            most_mb = max(most_mb, platform.usage()[late.name][1])
            await asyncio.sleep(0.5)
        took_s = time.monotonic() - began_s
        row = {"events": events, "caught up after, s": round(took_s, 1), "events/s": round(events / took_s)}
        yield {**row, "its memory at most, MB": round(most_mb)}


async def soak(bench: Bench) -> Rows:
    """Half of the best rate for a long time: a row each time a tenth of it has passed."""
    async with bench.platform() as platform:
        best, minutes = (await bench.best(platform))["orders/s"], bench.soak_minutes / 10
        for number in range(1, 11):
            told = await at_rate(platform, best / 2, minutes * 60)
            row = {"after, min": round(number * minutes), **_shown(told), **_cost(told)}
            row["the same work, ms of CPU"] = told["same_work_ms"]
            yield row | {"platform, MB": _memory_mb(platform), "outbox and inbox, rows": await platform.passing_rows()}


STUDIES: Final[dict[str, Study]] = {
    "growth": growth,
    "lines": lines,
    "hot": hot,
    "processes": processes,
    "features": features,
    "parts": parts,
    "overload": overload,
    "backlog": backlog,
    "soak": soak,
}


def _memory_mb(platform: Installation) -> int:
    return round(sum(megabytes for _, megabytes in platform.usage().values()))


def _cost(told: Mapping[str, Any]) -> dict[str, float]:
    return {
        "platform, ms of CPU an order": round(sum(told["cpu_ms_per_order"].values()), 2),
        "servers, ms of CPU an order": round(sum(told["servers_cpu_ms_per_order"].values()), 2),
    }


def _shown(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "answers": told["answers"],
        "with Retry-After": told["told_when_to_retry"],
        "completed/s": told["completed_per_s"],
        "POST p50, ms": told["post_ms"].get("p50"),
        "POST p99, ms": told["post_ms"].get("p99"),
        "completed p99, ms": told["completed_ms"].get("p99"),
    }
