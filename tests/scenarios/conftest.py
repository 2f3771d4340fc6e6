"""The shop that the stories happen in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.shop import Shop, open_shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """The whole platform on real ports."""
    async with open_shop(tmp_path) as opened:
        yield opened
