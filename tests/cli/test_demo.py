"""`orderwright demo`: one order, step by step, in lines that a program could read."""

import re
from pathlib import Path

import pytest

from orderwright.cli.demo import show_one_order

NOBODY = "http://127.0.0.1:9"
ORDERED = re.compile(r"card: order [0-9a-f-]{36}, 59\.98 USD, \w+ after .+\.$", re.MULTILINE)
DONE = "reserve_inventory completed, process_payment completed, deduct_inventory completed"


async def test_the_demo_shows_one_order_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_DATA_DIR", str(tmp_path))
    await show_one_order(NOBODY)
    told = capsys.readouterr().out
    assert ORDERED.search(told), told
    assert "order_completed\n" in told
    assert DONE in told
    assert "6. The payment: success, 59.98 USD." in told
    available = re.search(r"7\. The stock: (\d+) before, (\d+) now\.", told)
    assert available is not None
    assert int(available[1]) - int(available[2]) == 2
