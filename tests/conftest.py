"""What all tests share: fast password hashes, quiet logs, and the closing table of what was exercised for real."""

from collections.abc import Iterator

import pytest

from orderwright.kernel.telemetry import configure_logs

EXERCISED = (
    ("SQLite", "exercised"),
    ("in-process broker", "exercised"),
    ("SMTP server (aiosmtpd on a loopback socket)", "exercised"),
    ("PostgreSQL, Redis, RabbitMQ, Kafka, browser", "not exercised: nothing here speaks to them yet"),
)


@pytest.fixture(autouse=True)
def cheap_and_quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Argon2 as cheap as it can be, limits that do not get in the way, and warnings only in the log."""
    monkeypatch.setenv("ORDERWRIGHT_IDENTITY_ARGON2_MEMORY_KIB", "8")
    monkeypatch.setenv("ORDERWRIGHT_IDENTITY_ARGON2_TIME_COST", "1")
    for name in ("CALLER", "ADDRESS", "LOGIN"):
        monkeypatch.setenv(f"ORDERWRIGHT_GATEWAY_{name}_PER_MINUTE", "0")
    configure_logs(form="json", level="error")
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which real parts took part."""
    terminalreporter.write_sep("-", "real parts")
    for name, state in EXERCISED:
        terminalreporter.write_line(f"{name:<48}{state}")
