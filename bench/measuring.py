"""One run on a platform that stands: as fast as its customers are answered, or at a rate that waits for nobody."""

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from bench.customers import Customers, Sent, percentiles_ms
from bench.installation import Installation
from bench.usage import of_server


async def as_fast_as_answered(
    installation: Installation, orders: int, at_once: int, customers: Customers | None = None
) -> dict[str, Any]:
    """Complete orders a second with `at_once` customers who each wait for their answer, and what an order costs."""
    customers = customers or await installation.customers()
    before, servers_before = installation.usage(), _servers(installation)
    sent = await customers.as_fast_as_answered(orders, at_once=at_once)
    await installation.until_at_rest()
    after, servers_after = installation.usage(), _servers(installation)
    ended = await installation.ended_at(sent.began_s - 1)
    done = [ended[order] for order in sent.due_at if order in ended]
    cpu = {name: round((after[name][0] - before[name][0]) * 1000 / orders, 2) for name in after}
    servers = {name: round((servers_after[name] - servers_before[name]) * 1000 / orders, 2) for name in servers_after}
    return {
        "orders_per_s": round(len(done) / (max(done) - sent.began_s), 1),
        "posts_per_s": round(orders / (sent.ended_s - sent.began_s), 1),
        "answers": dict(sent.answers),
        "post_ms": percentiles_ms(sent.latency_s),
        "completed_ms": until_completed(sent, ended),
        "cpu_ms_per_order": cpu,
        "servers_cpu_ms_per_order": servers,
        "memory_mb": {name: round(memory) for name, (_, memory) in after.items()},
    }


async def at_rate(installation: Installation, rate_per_s: float, seconds: float) -> dict[str, Any]:
    """Latencies while orders come at `rate_per_s`, and how quick the machine was before and after."""
    customers = await installation.customers()
    loop_before_ms = loop_ms()
    sent = await customers.at_rate(rate_per_s, seconds=seconds)
    await installation.until_at_rest()
    loops_ms = [loop_before_ms, loop_ms()]
    ended = await installation.ended_at(sent.began_s - 1)
    done = [ended[order] for order in sent.due_at if order in ended]
    return {
        "rate_per_s": round(rate_per_s, 1),
        "completed_per_s": round(len(done) / (max(done) - sent.began_s), 1) if done else 0.0,
        "answers": dict(sent.answers),
        "told_when_to_retry": sent.told_when_to_retry,
        "post_ms": percentiles_ms(sent.latency_s),
        "completed_ms": until_completed(sent, ended),
        "loop_ms": loops_ms,
    }


def loop_ms() -> int:
    """How long this machine takes now to add up a million numbers in Python: it differs from itself by far."""
    took_ms = []
    for _ in range(3):
        began_s, total = time.perf_counter(), 0
        for number in range(1_000_000):
            total += number
        took_ms.append((time.perf_counter() - began_s) * 1000)
    return round(median(took_ms))


def until_completed(sent: Sent, ended: Mapping[str, float]) -> dict[str, float]:
    """From the moment at which an order was due to its completion."""
    return percentiles_ms([ended[order] - due for order, due in sent.due_at.items() if order in ended])


def _servers(installation: Installation) -> dict[str, float]:
    """Seconds of CPU of the servers that the installation stands on."""
    uses = {name: of_server(name) for name in installation.servers}
    return {name: use.cpu_s for name, use in uses.items() if use is not None}
