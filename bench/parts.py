"""What parts of a request cost that no setting leaves out: tokens, traces, metrics, lines of log.

Each is timed alone, with the product's own code; the best of several rounds counts, because whatever else a machine
does only makes it slower. The parts are seen to do their work before they are timed.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from orderwright.kernel import context
from orderwright.kernel.auth import ALGORITHM, CUSTOMER, TokenVerifier
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.ids import SystemIds
from orderwright.kernel.telemetry import Metrics, configure_logs
from orderwright.services.identity.actions.keys import SigningKey

ROUNDS: Final = 5
CALLS: Final = 400
REQUESTS: Final = 2
"""An order is asked for at the gateway, and by it at the order service."""
SAID: Final = 6
"""So many events are said about an order until it is completed, each with a line of log."""


async def timed_parts() -> AsyncIterator[dict[str, Any]]:
    """What each part takes once, and how often an order needs it."""
    key, ids, metrics = SigningKey("bench", ec.generate_private_key(ec.SECP256R1())), SystemIds(), Metrics()
    tokens = [_token(key, ids.new()) for _ in range(ROUNDS * CALLS + 1)]
    verifier = TokenVerifier(lambda: _published(key), SystemClock())
    if (await verifier.verify(tokens[0])).id != "customer-1":
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
    request = context.RequestContext(ids.new(), context.continued_traceparent(None, ids))
    token = context.current.set(request)
    bound = structlog.contextvars.bind_contextvars(
        request_id=request.request_id, trace_id=context.trace_id(request.traceparent)
    )
    structlog.contextvars.reset_contextvars(**bound)
    context.current.reset(token)


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


def _token(key: SigningKey, token_id: str) -> str:
    return key.sign("customer-1", [CUSTOMER], now=datetime.now(UTC), lifetime=timedelta(minutes=15), token_id=token_id)


async def _published(key: SigningKey) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.private.public_key(), as_dict=True)
    return {"keys": [{**public, "kid": key.id, "use": "sig", "alg": ALGORITHM}]}
