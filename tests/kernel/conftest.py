"""Databases for those of the kernel's tests that ask for them: SQLite, and PostgreSQL where one is found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import fresh_databases


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The databases of a test's benches."""
    with fresh_databases(request.param, tmp_path) as url:
        monkeypatch.setenv("ORDERWRIGHT_DATABASE_URL", url)
        yield url
