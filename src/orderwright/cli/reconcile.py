"""`orderwright reconcile`: audits, and prints what was found and what to do about it."""

import sys
from itertools import groupby
from typing import Final

import msgspec
from rich.console import Console

from orderwright.audit.auditor import Auditor
from orderwright.audit.findings import KINDS, Report
from orderwright.audit.settings import AuditSettings
from orderwright.cli.console import open_console
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.errors import OrderwrightError
from orderwright.kernel.settings import PlatformSettings
from orderwright.services.payment.settings import PaymentSettings

CLEAN, FOUND, UNREADABLE = 0, 1, 2
SHOWN: Final = 20
"""So many findings of a kind are printed; --json has more."""


async def reconcile(*, every_s: float, as_json: bool, settle_s: float | None, grace_s: float | None) -> int:
    """Audit once, or every so often; answers the exit status."""
    given = {"settle_s": settle_s, "grace_s": grace_s}
    clock = SystemClock()
    try:
        chosen = {name: value for name, value in given.items() if value is not None}
        settings = AuditSettings().model_copy(update=chosen)
        auditor = Auditor(
            PlatformSettings().effective_database_url, settings, clock, provider=PaymentSettings().provider
        )
    except (OrderwrightError, ValueError) as error:
        return _unreadable(error)
    while True:
        status = await _once(auditor, as_json=as_json)
        if not every_s:
            return status
        await clock.sleep(every_s)


async def _once(auditor: Auditor, *, as_json: bool) -> int:
    try:
        report = await auditor.run()
    except OrderwrightError as error:
        return _unreadable(error)
    if as_json:
        sys.stdout.write(msgspec.json.encode(report.document()).decode() + "\n")
        sys.stdout.flush()
    else:
        print_report(report, open_console())
    return CLEAN if report.clean else FOUND


def print_report(report: Report, console: Console) -> None:
    """For people: what was found, by kind, each with what it means and what to do."""
    for kind, group in groupby(sorted(report.findings, key=lambda finding: finding.kind), lambda one: one.kind):
        console.print(f"\n[bold]{kind}[/bold] ({report.by_kind[kind]}): {KINDS[kind].means}")
        for finding in list(group)[:SHOWN]:
            console.print(f"  {finding.subject}: {finding.detail}", markup=False)
        if report.by_kind[kind] > SHOWN:
            console.print(f"  … and {report.by_kind[kind] - SHOWN} more; --json names up to 1000 of a kind")
        console.print(f"  To do: {KINDS[kind].do}", markup=False)
    looked_at = ", ".join(f"{count} {name}" for name, count in report.looked_at.items())
    console.print(f"\n{looked_at or 'Nothing'} looked at in {report.took_s:.1f} s.")
    if report.suspects:
        console.print(f"{report.suspects} looked wrong at first, {report.under_way} of them are still under way.")
    for note in report.notes:
        console.print(f"Note: {note}.", markup=False)
    count = report.by_kind.total()
    console.print("The books agree." if report.clean else f"[bold]{count} findings.[/bold]")


def _unreadable(error: Exception) -> int:
    sys.stderr.write(f"orderwright: {error}\n")
    return UNREADABLE
