"""What all tests share: fast password hashes, quiet logs, and a closing table of the servers that took part.

The table tells what happened, not what was meant to: each server has one place through which whoever uses it must go,
and that place notes that it was reached.
"""

import gc
from collections.abc import Callable, Iterator
from functools import wraps
from pkgutil import resolve_name
from typing import Any

import pytest

from orderwright.kernel.telemetry import configure_logs
from tests.brokers import remove_topics
from tests.forgetting import forget_routes

PASSED_BY_ALL = {
    "SQLite": "orderwright.kernel.databases.sqlite:SqliteDatabase.write",
    "PostgreSQL": "orderwright.kernel.databases.postgres:PostgresDatabase.write",
    "in-process broker": "orderwright.kernel.brokers.memory:MemoryBroker.publish",
    "Redis": "orderwright.kernel.brokers.redis.connection:Link.run",
    "RabbitMQ": "orderwright.kernel.brokers.rabbit.connecting:Target.connect",
    "Kafka": "orderwright.kernel.brokers.kafka.broker:KafkaBroker.publish",
    "HTTP servers (uvicorn, real sockets)": "orderwright.kernel.server:Door.open",
    "SMTP server (aiosmtpd, real sockets)": "aiosmtpd.smtp:SMTP.connection_made",
    "browser (Chromium)": "playwright.async_api:BrowserType.launch",
}
"""Where nobody gets past who uses a server."""


reached: set[str] = set()


@pytest.fixture(autouse=True)
def cheap_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 as cheap as it can be, limits and waits that do not get in the way, and warnings only in the log."""
    monkeypatch.setenv("ORDERWRIGHT_IDENTITY_ARGON2_MEMORY_KIB", "8")
    monkeypatch.setenv("ORDERWRIGHT_IDENTITY_ARGON2_TIME_COST", "1")
    for name in ("CALLER", "ADDRESS", "LOGIN"):
        monkeypatch.setenv(f"ORDERWRIGHT_GATEWAY_{name}_PER_MINUTE", "0")
    # On a busy machine a reservation may take longer than the two seconds that customers are asked to wait.
    monkeypatch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "8")
    configure_logs(form="json", level="error")


@pytest.fixture(autouse=True)
def forgotten_applications() -> Iterator[None]:
    """Services of tests that are over can be collected."""
    yield
    forget_routes()


def pytest_collection_finish() -> None:
    """Have each place note that it was reached; what is there by now stays, and is not looked through for garbage."""
    gc.freeze()
    for server, place in PASSED_BY_ALL.items():
        owner, _, name = place.rpartition(".")
        try:
            there = resolve_name(owner)
            setattr(there, name, _noting(server, getattr(there, name)))
        except (AttributeError, ImportError) as error:
            raise pytest.UsageError(
                f"tests/conftest.py: {place} is not there to tell of the {server}: {error}"
            ) from error


def _noting(server: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def noting(*args: Any, **kwargs: Any) -> Any:
        reached.add(server)
        return original(*args, **kwargs)

    return noting


def pytest_sessionfinish() -> None:
    """Leave nothing in the servers that outlive the tests."""
    if "Kafka" in reached:
        remove_topics()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers took part, above pytest's own last line."""
    terminalreporter.write_sep("-", "servers")
    states = {server: "exercised" if server in reached else "not exercised in this run" for server in PASSED_BY_ALL}
    for server, state in states.items():
        terminalreporter.write_line(f"{server:<40}{state}")
