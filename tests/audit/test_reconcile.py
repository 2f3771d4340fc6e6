"""`orderwright reconcile` as operators meet it, and the auditor inside a running platform."""

import asyncio
import json
import re
import sys
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa

from orderwright.audit.auditor import Auditor
from orderwright.audit.books import SANDBOX
from orderwright.audit.findings import KINDS
from orderwright.audit.settings import AuditSettings
from orderwright.audit.watch import NOTE, Watch, watching
from orderwright.cli.plan import make_plan
from orderwright.cli.reconcile import reconcile
from orderwright.kernel.clock import FrozenClock, SystemClock
from orderwright.kernel.platform import Platform
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import Metrics
from orderwright.services import PORTS
from orderwright.services.inventory.tables import stock
from tests.architecture.tree import ROOT
from tests.audit.ledger import Ledger
from tests.shop import until

BREACH = (
    sa.update(stock)
    .where(stock.c.product_id == "product-123")
    .values(sold=stock.c.sold + 3, received=stock.c.received + 3)
)


async def test_books_that_agree_are_0(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_DATABASE_URL", ledger.url)
    assert await reconcile(every_s=0, as_json=False, settle_s=0, grace_s=0) == 0
    assert "The books agree." in capsys.readouterr().out


async def test_books_that_do_not_agree_are_1_and_what_to_do_is_said(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_DATABASE_URL", ledger.url)
    await ledger.change("inventory", BREACH)
    assert await reconcile(every_s=0, as_json=False, settle_s=0, grace_s=0) == 1
    printed = capsys.readouterr().out
    assert "stock_sold (1)" in printed
    assert "product-123 in main" in printed
    assert KINDS["stock_sold"].do in printed
    assert await reconcile(every_s=0, as_json=True, settle_s=0, grace_s=0) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["clean"], document["by_kind"]) == (False, {"stock_sold": 1})
    assert document["findings"][0]["subject"] == "product-123 in main"


async def test_books_that_cannot_be_read_are_2_and_nothing_is_made(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    environment = {"ORDERWRIGHT_DATA_DIR": str(nowhere), "PYTHONPATH": str(ROOT / "src")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orderwright.cli.main", "reconcile"), env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert f"There is no {nowhere}/order.db" in said.decode()
    assert not nowhere.exists()


async def test_a_watch_tells_prometheus_and_operators_what_it_saw(ledger: Ledger) -> None:
    clock, metrics, notes = FrozenClock(), Metrics(), dict[str, str]()
    auditor = Auditor(ledger.url, AuditSettings(), clock, provider=SANDBOX)
    watch = Watch(auditor, clock, metrics.registry, notes, every_s=600)
    read = metrics.registry.get_sample_value
    clock.advance(7)
    assert read("orderwright_audit_age_seconds") == 7
    await ledger.change("inventory", BREACH)
    await watch.look()
    clock.advance(11)
    assert read("orderwright_audit_findings", {"kind": "stock_sold"}) == 1
    assert read("orderwright_audit_findings", {"kind": "money_kept"}) == 0
    assert read("orderwright_audit_age_seconds") == 11
    assert "1 stock_sold" in notes[NOTE]
    await ledger.put_back()
    await watch.look()
    assert notes[NOTE].startswith("clean at ")
    assert read("orderwright_audit_findings", {"kind": "stock_sold"}) == 0


async def test_an_audit_that_fails_is_said_and_ages(tmp_path: Path) -> None:
    clock, metrics, notes = FrozenClock(), Metrics(), dict[str, str]()
    auditor = Auditor(f"sqlite:///{tmp_path}/nowhere", AuditSettings(), clock, provider=SANDBOX)
    watch = Watch(auditor, clock, metrics.registry, notes, every_s=600)
    clock.advance(7)
    await watch.look()
    assert notes[NOTE].startswith("could not read the books: CannotRead")
    assert metrics.registry.get_sample_value("orderwright_audit_age_seconds") == 7


async def test_the_process_that_runs_everything_audits_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERWRIGHT_AUDIT_EVERY_S", "0.2")
    settings = PlatformSettings(data_dir=tmp_path, stop_timeout_s=2)
    platform = Platform(make_plan(list(PORTS), settings, ports={}), settings)
    await platform.start()
    try:
        async with watching(platform, SystemClock()), httpx2.AsyncClient(trust_env=False) as client:
            door = platform.doors["order"].address

            async def noted() -> bool:
                answer = await client.get(f"{door}/ready")
                return answer.status_code == 200 and answer.json()["notes"].get("audit", "").startswith("clean at")

            await until(noted, "readiness has a note of the audit")
            told = (await client.get(f"{door}/metrics")).text
            assert re.search(r"orderwright_audit_findings\{kind=\"money_kept\"\} 0\.0", told)
    finally:
        await platform.stop()


async def test_a_process_that_runs_a_part_does_not_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERWRIGHT_AUDIT_EVERY_S", "0.01")
    settings = PlatformSettings(data_dir=tmp_path)
    platform = Platform(make_plan(["order", "payment"], settings, ports={}), settings)
    async with watching(platform, SystemClock()):
        await asyncio.sleep(0.1)
    assert platform.notes == {}
    assert platform.metrics.registry.get_sample_value("orderwright_audit_age_seconds") is None


def test_every_kind_of_finding_is_broken_in_a_test_and_explained() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests/audit").glob("test_laws_*.py"))
    page = (ROOT / "docs/how-to/reconcile.md").read_text()
    assert [kind for kind in KINDS if f'"{kind}"' not in tests] == []
    assert [kind for kind, it in KINDS.items() if f"| `{kind}` | {it.means} | {it.do} |" not in page] == []
