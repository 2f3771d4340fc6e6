"""Identity, opened for a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.services.identity.people import Identity, open_identity


@pytest.fixture
async def identity(tmp_path: Path) -> AsyncIterator[Identity]:
    """Identity with its own keys."""
    async with open_identity(tmp_path) as opened:
        yield opened
