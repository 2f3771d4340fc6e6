"""The payment service on a bench, with webhooks that the tests can sign."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orderwright.kernel.testing import ServiceBench
from orderwright.services.payment.manifest import assemble
from tests.services.payment.signing import SECRET


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceBench]:
    monkeypatch.setenv("ORDERWRIGHT_PAYMENT_ORDER_WAIT_S", "0")
    monkeypatch.setenv("ORDERWRIGHT_PAYMENT_SANDBOX_WEBHOOK_SECRET", SECRET)
    async with ServiceBench.open(assemble, "payment", tmp_path) as opened:
        yield opened
