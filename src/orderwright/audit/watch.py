"""The auditor as a job: in the process that runs every service it audits now and then, slowly, and tells what it saw.

Told are a line of log, Prometheus gauges and a note at /ready. Invariant: whatever is found, or goes wrong here, makes
no service unready and stops nothing.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry, Gauge

from orderwright.audit.auditor import Auditor
from orderwright.audit.findings import KINDS, Report
from orderwright.audit.settings import AuditSettings
from orderwright.kernel.clock import Clock, processor_s, rfc3339
from orderwright.kernel.jobs import beside
from orderwright.kernel.platform import Platform
from orderwright.services import SERVICES
from orderwright.services.payment.settings import PaymentSettings

log = structlog.get_logger(__name__)

NOTE = "audit"
"""Under which name /ready tells of it."""
NAMED_IN_LOG = 20
SMALL_PAGE = 25
"""So few orders are read and judged at once beside customers' requests, which wait for that."""
HISTORIES_APART = 10
"""One in so many of the histories that `reconcile` reads; ten audits together read all of them."""
LEAST_IDLE = 0.05
"""A process that is wholly busy is audited as if it had so much of a processor to spare: slowly, but to the end."""


class Rests:
    """After each page a rest: so many times as long as it took, and longer as the process has less time to spare.

    Customers come first: a process that is busy four fifths of the time is audited at a fifth of the pace.
    """

    def __init__(self, clock: Clock, times: float, used_s: Callable[[], float] = processor_s) -> None:
        self._clock = clock
        self._times = times
        self._used_s = used_s
        self._idle = 1.0
        """The share of a processor that the others left while this rested last."""

    async def rest(self, took_s: float) -> None:
        """Rest after a page that took so long."""
        began_s, used_s = self._clock.monotonic_s(), self._used_s()
        await self._clock.sleep(took_s * self._times / self._idle)
        rested_s = self._clock.monotonic_s() - began_s
        if rested_s > 0:
            self._idle = max(LEAST_IDLE, 1 - (self._used_s() - used_s) / rested_s)


class Watch:
    """Audits every so often, and keeps the last result where operators look."""

    def __init__(
        self, auditor: Auditor, clock: Clock, registry: CollectorRegistry, notes: dict[str, str], *, every_s: float
    ) -> None:
        self._auditor = auditor
        self._clock = clock
        self._notes = notes
        self._every_s = every_s
        self._last_s = clock.monotonic_s()
        self._findings = Gauge("orderwright_audit_findings", "What the last audit found", ("kind",), registry=registry)
        self._took = Gauge("orderwright_audit_took_seconds", "How long the last audit took", registry=registry)
        age = Gauge(
            "orderwright_audit_age_seconds",
            "Since the last audit that could read everything, or since the start",
            registry=registry,
        )
        age.set_function(lambda: self._clock.monotonic_s() - self._last_s)

    async def run_forever(self) -> None:
        """Wait first: a start has enough to do, and what a crash left behind is settled then."""
        while True:
            await self._clock.sleep(self._every_s)
            await self.look()

    async def look(self) -> None:
        """One audit."""
        try:
            report = await self._auditor.run()
        except Exception as error:
            log.exception("audit_failed")
            self._notes[NOTE] = f"could not read the books: {type(error).__name__}: {error}"
            return
        self._last_s = self._clock.monotonic_s()
        self._took.set(report.took_s)
        for kind in KINDS:
            self._findings.labels(kind).set(report.by_kind[kind])
        self._notes[NOTE] = _note(report)
        for finding in report.findings[:NAMED_IN_LOG]:
            log.error("audit_finding", kind=finding.kind, subject=finding.subject, detail=finding.detail)
        log.info("audited", took_s=round(report.took_s, 1), findings=report.by_kind.total(), **report.looked_at)


@asynccontextmanager
async def watching(platform: Platform, clock: Clock) -> AsyncIterator[None]:
    """Audit while all services run in this process, and in no other; where only a part of them does, do nothing."""
    settings = AuditSettings()
    plan = platform.plan
    alone = not plan.shares_ports and "jobs" in plan.roles and set(plan.manifests) == set(SERVICES)
    if not (alone and settings.every_s):
        yield
        return
    lightly = {"page": min(settings.page, SMALL_PAGE), "histories": settings.histories * HISTORIES_APART}
    auditor = Auditor(
        platform.settings.effective_database_url,
        settings.model_copy(update=lightly),
        clock,
        provider=PaymentSettings().provider,
        pause=Rests(clock, settings.rest).rest,
    )
    watch = Watch(auditor, clock, platform.metrics.registry, platform.notes, every_s=settings.every_s)
    async with beside(watch.run_forever, name="audit"):
        yield


def _note(report: Report) -> str:
    at = rfc3339(report.began_at)
    if report.clean:
        return f"clean at {at}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.by_kind.items()))
    return f"at {at}: {kinds}; `orderwright reconcile` names them"
