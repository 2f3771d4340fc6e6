"""An inventory on the bench, plain and with soft reservations for carts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orderwright.kernel.testing import ServiceBench
from orderwright.services.inventory.manifest import assemble


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ServiceBench]:
    async with ServiceBench.open(assemble, "inventory", tmp_path) as opened:
        yield opened


@pytest.fixture
async def soft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceBench]:
    """Carts set goods aside for ten minutes."""
    monkeypatch.setenv("ORDERWRIGHT_INVENTORY_SOFT_RESERVATION_MINUTES", "10")
    async with ServiceBench.open(assemble, "inventory", tmp_path) as opened:
        yield opened
