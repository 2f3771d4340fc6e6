"""Every service's tests run on SQLite, and again on PostgreSQL where one is found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import fresh_databases


@pytest.fixture(autouse=True, params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The databases of a test's benches."""
    if request.param != "sqlite" and request.node.get_closest_marker("hypothesis"):
        pytest.skip("each example takes databases of its own, in a folder of its own")
    with fresh_databases(request.param, tmp_path) as url:
        if request.param != "sqlite":
            # A bench keeps its SQLite files in its own folder without being told.
            monkeypatch.setenv("ORDERWRIGHT_DATABASE_URL", url)
        yield url
