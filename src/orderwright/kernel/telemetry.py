"""Logs and metrics: one JSON object or one readable line an event, and Prometheus counters.

Invariant: no card number, token or secret reaches a log line; members with such names are struck out wherever they come
from. Each process has its own registry, handed in, so that tests and services never share counters by accident.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECRET_MEMBERS = frozenset(
    {"password", "token", "access_token", "refresh_token", "authorization", "card_number", "cvv", "secret"}
)
STRUCK_OUT = "[struck out]"
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What a process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "orderwright_request_seconds",
            "HTTP requests by service, method, route and status",
            ("service", "method", "route", "status"),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.events_said = Counter(
            "orderwright_events_said_total",
            "Events committed to an outbox",
            ("service", "event"),
            registry=self.registry,
        )
        self.events_handled = Counter(
            "orderwright_events_handled_total", "Messages handled and committed", ("service",), registry=self.registry
        )
        self.outbox_waiting = Gauge(
            "orderwright_outbox_waiting", "Outbox rows not yet known to be sent", ("service",), registry=self.registry
        )
        self.messages_kept = Gauge(
            "orderwright_messages_kept",
            "Messages kept for a retry or dead",
            ("service", "state"),
            registry=self.registry,
        )
        self.replicas = Gauge(
            "orderwright_replicas",
            "Known replicas of a service that runs elsewhere",
            ("service",),
            registry=self.registry,
        )
        self.replicas_left_out = Gauge(
            "orderwright_replicas_left_out",
            "Replicas that are not asked at the moment, because they do not answer or are not well",
            ("service",),
            registry=self.registry,
        )
        self.breakers_open = Gauge(
            "orderwright_breaker_open",
            "1 while a caller leaves a service alone, 0.5 while it tries whether it is well again, else 0",
            ("caller", "service"),
            registry=self.registry,
        )
        self.retries = Counter(
            "orderwright_requests_retried_total",
            "Requests to a service that were sent once more",
            ("service",),
            registry=self.registry,
        )
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}

    def gauge(self, name: str, what: str, labels: tuple[str, ...]) -> Gauge:
        """A gauge of a service's own; whoever asks for the same name gets the same one."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, what, labels, registry=self.registry)
        return self._gauges[name]

    def counter(self, name: str, what: str, labels: tuple[str, ...]) -> Counter:
        """A counter of a service's own; whoever asks for the same name gets the same one."""
        if name not in self._counters:
            self._counters[name] = Counter(name, what, labels, registry=self.registry)
        return self._counters[name]


def configure_logs(*, form: str, level: str, stream: TextIO | None = None) -> None:
    """Set the process's logging up once, at the edge: structlog, with the standard library's loggers routed into it."""
    target = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        strike_out_secrets,
    ]
    # Neither form shows a frame's variables: they hold passwords, tokens and cards.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    console = structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
    renderer: list[Any] = (
        [tracebacks, structlog.processors.JSONRenderer(serializer=_json)] if form == "json" else [console]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


def strike_out_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: members that are named like secrets lose their values."""
    for name in SECRET_MEMBERS.intersection(event):
        event[name] = STRUCK_OUT
    return event


def _json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
