"""One shop for each module here."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.shop import Shop, open_shop


@pytest.fixture(scope="module", autouse=True)
def no_limits() -> Iterator[None]:
    """The shop of a module lives longer than one test's own settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORDERWRIGHT_IDENTITY_ARGON2_MEMORY_KIB", "8")
        patch.setenv("ORDERWRIGHT_IDENTITY_ARGON2_TIME_COST", "1")
        for name in ("CALLER", "ADDRESS", "LOGIN"):
            patch.setenv(f"ORDERWRIGHT_GATEWAY_{name}_PER_MINUTE", "0")
        patch.setenv("ORDERWRIGHT_ORDER_ANSWER_WAIT_S", "8")
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """The whole platform, for all tests of a module."""
    async with open_shop(tmp_path_factory.mktemp("shop")) as opened:
        await opened.token("customer")
        yield opened
