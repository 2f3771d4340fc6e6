"""What a process is told to run, and where the others are."""

import pytest

from orderwright.cli.plan import make_plan
from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.settings import PlatformSettings


def test_an_address_that_is_none_keeps_the_process_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERWRIGHT_PAYMENT_URL", "http://10.0.0.5:8002,10.0.0.6:8002")
    with pytest.raises(ConfigurationError, match=r"ORDERWRIGHT_PAYMENT_URL has '10\.0\.0\.6:8002'"):
        make_plan(["gateway"], PlatformSettings())


def test_a_service_may_be_at_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = "http://10.0.0.5:8002, http://10.0.0.6:8002"
    monkeypatch.setenv("ORDERWRIGHT_PAYMENT_URL", addresses)
    plan = make_plan(["gateway"], PlatformSettings())
    assert (plan.urls["payment"], plan.urls["order"]) == (addresses, "http://127.0.0.1:8001")
