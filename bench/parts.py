"""What parts of a request cost that no setting leaves out: tokens, traces, metrics, lines of log.

Each is timed alone, with the product's own code; the best of several rounds counts, because whatever else a machine
does only makes it slower. The parts are seen to do their work before they are timed.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from orderwright.kernel import context
from orderwright.kernel.auth import CUSTOMER, TokenVerifier
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.ids import SystemIds
from orderwright.kernel.telemetry import Metrics, configure_logs
from orderwright.kernel.testing import DEFAULT_CALLER, TestKeys

ROUNDS: Final = 5
CALLS: Final = 400
REQUESTS: Final = 2
"""An order is asked for at the gateway, and by it at the order service."""
SAID: Final = 6
"""So many events are said about an order until it is completed, each with a line of log."""


async def timed_parts() -> AsyncIterator[dict[str, Any]]:
    """What each part takes once, and how often an order needs it."""
    keys, ids, metrics = TestKeys(SystemClock()), SystemIds(), Metrics()

    async def published() -> Mapping[str, Any]:
        return keys.document

    # No two signatures are the same, so neither are the tokens.
    tokens = [keys.token(DEFAULT_CALLER, [CUSTOMER]) for _ in range(ROUNDS * CALLS + 1)]
    verifier = TokenVerifier(published, SystemClock())
    if (await verifier.verify(tokens[0])).id != DEFAULT_CALLER:
        raise AssertionError("the token was verified as somebody else's")
    unseen = iter(tokens[1:])
    yield _row("a token that was seen before", lambda: _at_once(verifier.verify(tokens[0])), an_order=REQUESTS)
    yield _row("a token that is new", lambda: _at_once(verifier.verify(next(unseen))), an_order=0)
    yield _row("a trace: begun, bound for logs, let go", lambda: _trace(ids), an_order=REQUESTS)
    yield _row("a request is counted", lambda: _count(metrics), an_order=REQUESTS)
    with _logs_to_nowhere():
        log = structlog.get_logger()
        line = {"service": "order", "method": "POST", "path": "/orders", "status": 201, "duration_ms": 41.7}
        yield _row("a line of log", lambda: log.info("request", **line), an_order=REQUESTS + SAID)


def _row(part: str, work: Callable[[], object], *, an_order: int) -> dict[str, Any]:
    once_us = min(_round_us(work) for _ in range(ROUNDS))
    return {"part": part, "once, µs": round(once_us, 1), "an order, times": an_order, "µs": round(once_us * an_order)}


def _round_us(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - began_s) / CALLS * 1e6


def _at_once(work: Coroutine[Any, Any, object]) -> None:
    """Carry out what waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited for something")


def _trace(ids: SystemIds) -> None:
    with context.carried(context.RequestContext(ids.new(), context.continued_traceparent(None, ids))):
        pass


def _count(metrics: Metrics) -> None:
    metrics.requests.labels("order", "POST", "/orders", "201").observe(0.0417)


@contextmanager
def _logs_to_nowhere() -> Iterator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        configure_logs(form="json", level="info", stream=nowhere)
        try:
            yield
        finally:
            structlog.reset_defaults()
