"""One run on a platform that stands: as fast as its customers are answered, or at a rate that waits for nobody."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from bench.customers import Customers, Sent, percentiles_ms
from bench.installation import Installation
from bench.pulse import pulse
from bench.usage import of_server


async def as_fast_as_answered(
    installation: Installation, orders: int, at_once: int, customers: Customers | None = None
) -> dict[str, Any]:
    """Complete orders a second with `at_once` customers who each wait for their answer, and what an order costs."""
    customers = customers or await installation.customers()
    meter = _Meter(installation)
    sent = await customers.as_fast_as_answered(orders, at_once=at_once)
    await installation.until_at_rest(sent.began_s)
    used = meter.read(orders)
    ended = await installation.ended_at(sent.began_s)
    done = [ended[order] for order in sent.due_at if order in ended]
    return {
        "orders_per_s": round(len(done) / (max(done) - sent.began_s), 1),
        "posts_per_s": round(orders / (sent.ended_s - sent.began_s), 1),
        "answers": dict(sent.answers),
        "post_ms": percentiles_ms(sent.latency_s),
        "completed_ms": until_completed(sent, ended),
        **used,
        "memory_mb": {name: round(memory) for name, (_, memory) in installation.usage().items()},
    }


async def at_rate(installation: Installation, rate_per_s: float, seconds: float) -> dict[str, Any]:
    """Latencies while orders come at `rate_per_s`, and what an order costs."""
    customers = await installation.customers()
    meter = _Meter(installation)
    async with pulse() as beats_s:
        sent = await customers.at_rate(rate_per_s, seconds=seconds)
    await installation.until_at_rest(sent.began_s)
    used = meter.read(sent.answers.total())
    ended = await installation.ended_at(sent.began_s)
    done = [ended[order] for order in sent.due_at if order in ended]
    return {
        "rate_per_s": round(rate_per_s, 1),
        "completed_per_s": round(len(done) / (max(done) - sent.began_s), 1) if done else 0.0,
        "answers": dict(sent.answers),
        "told_when_to_retry": sent.told_when_to_retry,
        "post_ms": percentiles_ms(sent.latency_s),
        "completed_ms": until_completed(sent, ended),
        **used,
        "same_work_ms": round(median(beats_s) * 1000, 2),
    }


class _Meter:
    """Tells what was used since it was made."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._before = self._seconds()

    def read(self, orders: int) -> dict[str, dict[str, float]]:
        """Milliseconds of CPU for each of so many orders: of every process, and of the servers that it stands on."""
        after = self._seconds()
        return {
            kind: {name: round((after[kind][name] - used_s) * 1000 / orders, 2) for name, used_s in before.items()}
            for kind, before in self._before.items()
        }

    def _seconds(self) -> dict[str, dict[str, float]]:
        return {
            "cpu_ms_per_order": {name: cpu_s for name, (cpu_s, _) in self._installation.usage().items()},
            "servers_cpu_ms_per_order": _servers(self._installation),
        }


def until_completed(sent: Sent, ended: Mapping[str, float]) -> dict[str, float]:
    """From the moment at which an order was due to its completion."""
    return percentiles_ms([ended[order] - due for order, due in sent.due_at.items() if order in ended])


def _servers(installation: Installation) -> dict[str, float]:
    """Seconds of CPU of the servers that the installation stands on."""
    uses = {name: of_server(name) for name in installation.servers}
    return {name: use.cpu_s for name, use in uses.items() if use is not None}
