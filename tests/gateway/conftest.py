"""Settings of the gateway for one test."""

from collections.abc import Callable

import pytest

from tests.gateway.bench import GatewayBench

OpenBench = Callable[..., GatewayBench]


@pytest.fixture
def open_bench(monkeypatch: pytest.MonkeyPatch) -> OpenBench:
    """Opens a bench whose gateway has these settings: `open_bench(caller_per_minute="3")`."""

    def opened(**settings: str) -> GatewayBench:
        for name, value in settings.items():
            monkeypatch.setenv(f"ORDERWRIGHT_GATEWAY_{name.upper()}", value)
        return GatewayBench()

    return opened
