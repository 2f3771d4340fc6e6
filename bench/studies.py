"""How the cost of an order depends on what is around it: one study a question, each a table.

python -m bench --studies growth,lines --shapes postgres+redis
"""

import asyncio
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.audit import make_books
from bench.installation import Installation, Shape, installed
from bench.measuring import as_fast_as_answered, at_rate

GROWTH: Final = (10_000, 100_000, 1_000_000)
LINES: Final = (1, 10, 100)
BACKLOG_EVENTS: Final = 100_000
AT_ONCE: Final = 96
WARM_UP_ORDERS: Final = 300

Rows = list[dict[str, Any]]
Say = Callable[[str], None]
Study = Callable[["Bench"], Coroutine[Any, Any, Rows]]


class Bench:
    """What a study needs: a shape, and how much to do."""

    def __init__(self, shape: Shape, urls: Mapping[str, str], asked: Namespace, say: Say) -> None:
        self.shape = shape
        self.orders: int = asked.orders
        self.seconds: float = asked.seconds
        self.soak_minutes: float = asked.soak_minutes
        self.say = say
        self._urls = urls

    def installed(
        self, folder: str, shape: Shape | None = None, settings: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Installation]:
        """A platform of this shape, or another one."""
        return installed(shape or self.shape, Path(folder), self._urls, settings or {})

    async def best(self, installation: Installation, orders: int | None = None, **who: Any) -> dict[str, Any]:
        """One closed loop after a warm-up, as a row of a table."""
        customers = await installation.customers(**who)
        await customers.as_fast_as_answered(min(WARM_UP_ORDERS, orders or WARM_UP_ORDERS), at_once=32)
        await installation.until_at_rest()
        told = await as_fast_as_answered(installation, orders or self.orders, AT_ONCE, customers)
        return {
            "orders/s": told["orders_per_s"],
            "platform, ms of CPU an order": round(sum(told["cpu_ms_per_order"].values()), 2),
            "servers, ms of CPU an order": round(sum(told["servers_cpu_ms_per_order"].values()), 2),
            "POST p99, ms": told["post_ms"].get("p99"),
            "answers": told["answers"],
        }


async def ready(installation: Installation) -> Installation:
    """The same, with enough on its shelves."""
    await asyncio.sleep(2)
    await installation.fill_shelves()
    return installation


async def growth(bench: Bench) -> Rows:
    """The same with 10 thousand, 100 thousand and a million completed orders in the tables."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder, bench.installed(folder) as made:
        installation, there = await ready(made), 0
        for size in GROWTH:
            await make_books(installation.database, size - there, label=f"book-{size}")
            there = size
            rows.append({"orders in the tables": size, **await bench.best(installation)})
            bench.say(f"growth: {rows[-1]}")
    return rows


async def lines(bench: Bench) -> Rows:
    """Orders of 1, 10 and 100 lines."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder, bench.installed(folder) as made:
        installation = await ready(made)
        goods = await installation.add_products(max(LINES))
        for number in LINES:
            orders = max(200, bench.orders // number)
            rows.append({"lines": number, **await bench.best(installation, orders, lines=number, only=goods)})
            bench.say(f"lines: {rows[-1]}")
    return rows


async def hot(bench: Bench) -> Rows:
    """Everybody wants the same product, and everybody something else."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder, bench.installed(folder) as made:
        installation = await ready(made)
        for name, only in (("one for all", ("product-123",)), ("dozens", ())):
            rows.append({"products": name, **await bench.best(installation, lines=1, only=only)})
            bench.say(f"hot: {rows[-1]}")
    return rows


async def processes(bench: Bench) -> Rows:
    """Each service in one process of its own and in two; all of them in one process and in two."""
    rows: Rows = []
    for together in (False, True):
        for copies in (1, 2):
            shape = replace(bench.shape, together=together, copies=copies)
            with tempfile.TemporaryDirectory() as folder, bench.installed(folder, shape) as made:
                row = await bench.best(await ready(made))
            spread = "all services" if together else "each service"
            rows.append({"processes": f"{spread} in {copies}", **row})
            bench.say(f"processes: {rows[-1]}")
    return rows


async def features(bench: Bench) -> Rows:
    """What is paid for the gateway, Idempotency-Keys and logs: each left out in turn."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder, bench.installed(folder) as made:
        installation = await ready(made)
        rows.append({"left out": "nothing", **await bench.best(installation)})
        rows.append({"left out": "the gateway", **await bench.best(installation, past_the_gateway=True)})
        rows.append({"left out": "Idempotency-Key", **await bench.best(installation, keys=False)})
    quiet = {"ORDERWRIGHT_LOG_LEVEL": "error"}
    with tempfile.TemporaryDirectory() as folder, bench.installed(folder, settings=quiet) as made:
        rows.append({"left out": "logs below errors", **await bench.best(await ready(made))})
    bench.say(f"features: {rows}")
    return rows


async def overload(bench: Bench) -> Rows:
    """Orders at twice the best rate, and then at half of it: what is refused, what is finished, what is left of it."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder, bench.installed(folder) as made:
        installation = await ready(made)
        best = (await bench.best(installation))["orders/s"]
        for share in (0.5, 2.0, 0.5):
            told = await at_rate(installation, best * share, bench.seconds)
            memory = sum(megabytes for _, megabytes in installation.usage().values())
            rows.append({"asked": f"{share:.0%} of {best}/s", **_shown(told), "platform, MB": round(memory)})
            bench.say(f"overload: {rows[-1]}")
    return rows


async def backlog(bench: Bench) -> Rows:
    """The notification service is stopped until 100,000 events wait for it, and then catches up."""
    with tempfile.TemporaryDirectory() as folder, bench.installed(folder, replace(bench.shape, together=False)) as made:
        installation = await ready(made)
        [late] = installation.fleet.of("notification")
        late.stop()
        customers, events = await installation.customers(), 0
        while events < BACKLOG_EVENTS:
            await customers.log_in()
            await customers.as_fast_as_answered(2000, at_once=AT_ONCE)
            events = (await installation.backlog())["notification"]
            bench.say(f"backlog: {events} events wait")
        late.start()
        late.until_ready()
        began_s, most_mb = time.monotonic(), 0.0
        while (await installation.backlog())["notification"]:
            most_mb = max(most_mb, installation.usage()[late.name][1])
            await asyncio.sleep(0.5)
        took_s = time.monotonic() - began_s
    row = {"events": events, "caught up after, s": round(took_s, 1), "events/s": round(events / took_s)}
    bench.say(f"backlog: {row}")
    return [{**row, "its memory at most, MB": round(most_mb)}]


async def soak(bench: Bench) -> Rows:
    """Half of the best rate for a long time: a row each time a tenth of it has passed."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder, bench.installed(folder) as made:
        installation = await ready(made)
        best, minutes = (await bench.best(installation))["orders/s"], bench.soak_minutes / 10
        for number in range(1, 11):
            told = await at_rate(installation, best / 2, minutes * 60)
            memory = {name: round(megabytes) for name, (_, megabytes) in installation.usage().items()}
            row = {"after, min": round(number * minutes), **_shown(told), "platform, MB": sum(memory.values())}
            rows.append(row | {"outbox and inbox, rows": await installation.passing_rows()})
            bench.say(f"soak: {rows[-1]}")
    return rows


STUDIES: Final[dict[str, Study]] = {
    "growth": growth,
    "lines": lines,
    "hot": hot,
    "processes": processes,
    "features": features,
    "overload": overload,
    "backlog": backlog,
    "soak": soak,
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
