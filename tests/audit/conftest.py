"""A day in a shop on each database, and its books for each test as that day left them."""

from collections.abc import AsyncIterator, Iterator

import pytest

from orderwright.kernel.telemetry import configure_logs
from tests.audit.ledger import Ledger, day_in_a_shop


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """The books of one day."""
    folder = tmp_path_factory.mktemp(f"day-{request.param}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORDERWRIGHT_IDENTITY_ARGON2_MEMORY_KIB", "8")
        patch.setenv("ORDERWRIGHT_IDENTITY_ARGON2_TIME_COST", "1")
        for name in ("CALLER", "ADDRESS", "LOGIN"):
            patch.setenv(f"ORDERWRIGHT_GATEWAY_{name}_PER_MINUTE", "0")
        configure_logs(form="json", level="error")
        with day_in_a_shop(request.param, folder) as ledger:
            yield ledger


@pytest.fixture
async def ledger(day: Ledger) -> AsyncIterator[Ledger]:
    """The books of that day, to be changed by hand."""
    yield day
    await day.put_back()
