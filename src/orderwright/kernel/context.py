"""What a request carries along: its id and its trace; the only ambient state, and only for logs and hand-over.

Invariant: nothing here decides anything. Business code gets its inputs as arguments.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import structlog

from orderwright.kernel.ids import Ids

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,64}$")


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Ids of the request that is being handled."""

    request_id: str
    traceparent: str


current: ContextVar[RequestContext | None] = ContextVar("orderwright_request", default=None)


@contextmanager
def carried(request: RequestContext) -> Iterator[None]:
    """Inside, this is the request that is being handled, and its ids stand in each line of log."""
    token = current.set(request)
    bound = structlog.contextvars.bind_contextvars(
        request_id=request.request_id, trace_id=trace_id(request.traceparent)
    )
    try:
        yield
    finally:
        # Not unbound: in one process the gateway's own binding is around this one.
        structlog.contextvars.reset_contextvars(**bound)
        current.reset(token)


def current_traceparent() -> str | None:
    """The W3C trace context of the request that is being handled."""
    context = current.get()
    return context.traceparent if context else None


def usable_request_id(value: str | None) -> str | None:
    """`value` when it can safely stand in a header and a log line."""
    return value if value and _REQUEST_ID.match(value) else None


def continued_traceparent(value: str | None, ids: Ids) -> str:
    """The caller's trace when it sent a valid one (W3C Trace Context, level 1), else a new one."""
    if value and (match := _TRACEPARENT.match(value)) and int(match[1], 16) and int(match[2], 16):
        return value
    return f"00-{ids.new().replace('-', '')}-{ids.new().replace('-', '')[16:]}-01"


def is_traceparent(value: str) -> bool:
    """Whether `value` has the form of a traceparent."""
    return _TRACEPARENT.match(value) is not None


def trace_id(traceparent: str) -> str:
    """The part of a traceparent that all its spans share."""
    return traceparent.split("-")[1]
