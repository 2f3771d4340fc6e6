"""Tell people what the provider owes an answer to for too long, and what waits for their decision.

Invariant: each charge and refund is one alarm in the log, whichever replica finds it; the counts are told for as long
as anything waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from orderwright.kernel.telemetry import Metrics
from orderwright.kernel.unit import Units
from orderwright.services.payment.domain import PaymentStatus, WebhookStatus
from orderwright.services.payment.store import payments as kept
from orderwright.services.payment.store import refunds as ledger
from orderwright.services.payment.store import webhooks as box

log = structlog.get_logger(__name__)

NOTE = "payments"
KINDS = ("charge", "refund")
WEBHOOKS_FOR_A_PERSON = (WebhookStatus.STRANDED, WebhookStatus.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Standing:
    """How much waits, for an answer or for a person."""

    unknown: Mapping[tuple[str, bool], int]
    """Charges and refunds without an outcome: by kind, and whether for too long."""
    quarantined: int
    webhooks: Mapping[str, int]

    def told(self) -> str:
        """What a person has to look at; empty when that is nothing."""
        counts = {f"{kind}s without an outcome for too long": self.unknown[kind, True] for kind in KINDS}
        counts["charges of another amount than was asked"] = self.quarantined
        counts |= {f"webhooks {status.value}": self.webhooks[status.value] for status in WEBHOOKS_FOR_A_PERSON}
        found = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"{found}: see GET /payments/attention" if found else ""


class Alarms:
    """Looks at what waits, and tells."""

    def __init__(self, units: Units, metrics: Metrics, *, alarm_after: timedelta) -> None:
        self.notes: dict[str, str] = {}
        """What readiness tells beside whether the service can work."""
        self._units = units
        self._alarm_after = alarm_after
        self._unknown = metrics.gauge(
            "orderwright_payments_unknown",
            "Charges and refunds that were sent and have no outcome; overdue for longer than the alarm's setting",
            ("kind", "overdue"),
        )
        self._quarantined = metrics.gauge(
            "orderwright_payments_quarantined", "Payments of which the provider took another amount than was asked", ()
        )
        self._webhooks = metrics.gauge(
            "orderwright_payment_webhooks_waiting", "Webhooks that wait for their payment or for a person", ("state",)
        )

    async def look(self) -> bool:
        """Raise what alarms there are, and bring metrics and notes up to date."""
        now = self._units.clock.now()
        before = now - self._alarm_after
        for charge in await self._units.database.write(lambda connection: kept.take_overdue(connection, before, now)):
            log.critical(
                "payment_outcome_unknown",
                payment_id=charge.id,
                order_id=charge.order_id,
                status=charge.status.value,
                since=str(charge.undecided_since),
                attempts=charge.attempts,
            )
        for refund in await self._units.database.write(lambda connection: ledger.take_overdue(connection, before, now)):
            log.critical(
                "refund_outcome_unknown",
                refund_id=refund.id,
                payment_id=refund.payment_id,
                status=refund.status,
                since=str(refund.created_at),
                attempts=refund.attempts,
            )
        standing = await self.standing()
        self._show(standing)
        return False

    async def standing(self) -> Standing:
        """How much waits at this moment."""
        before = self._units.clock.now() - self._alarm_after
        charges = await self._units.glance(lambda connection: kept.count_waiting(connection, before))
        refunds = await self._units.glance(lambda connection: ledger.count_waiting(connection, before))
        webhooks = await self._units.glance(box.count_waiting)
        # What is under way and young is no news; what was never sent for long is as bad as no answer.
        unknown = {("charge", late): charges.get((PaymentStatus.UNKNOWN.value, late), 0) for late in (False, True)}
        unknown["charge", True] += charges.get((PaymentStatus.CHARGING.value, True), 0)
        unknown |= {("refund", late): refunds.get((ledger.UNKNOWN, late), 0) for late in (False, True)}
        unknown["refund", True] += refunds.get((ledger.PENDING, True), 0)
        quarantined = sum(n for (status, _), n in charges.items() if status == PaymentStatus.QUARANTINED.value)
        return Standing(unknown, quarantined, {status.value: webhooks.get(status.value, 0) for status in box.FOR_STAFF})

    def _show(self, standing: Standing) -> None:
        for (kind, late), count in standing.unknown.items():
            self._unknown.labels(kind, str(late).lower()).set(count)
        self._quarantined.set(standing.quarantined)
        for state, count in standing.webhooks.items():
            self._webhooks.labels(state).set(count)
        told = standing.told()
        if told:
            self.notes[NOTE] = told
        else:
            self.notes.pop(NOTE, None)
