"""The law of an order's history: the order is the fold of its facts, and it ends once.

Pure: a dossier in, findings out. The fold is the order service's own, so a rule is not written twice.
"""

from collections.abc import Iterator
from typing import Any

from orderwright.audit.findings import Finding
from orderwright.audit.orders.dossier import Dossier
from orderwright.services.order.domain import Fact, FactType, Order, rebuild

SHOWN = (
    "customer_id",
    "placed_by",
    "client_reference",
    "shipping_address",
    "contact",
    "currency",
    "total_amount",
    "version",
    "reserved",
    "paid",
    "payment_failed",
    "completed",
    "cancel_reason",
    "cancel_detail",
    "cancel_requested",
    "payment_id",
    "refunded_amount",
    "carrier",
    "tracking_number",
)
"""Columns that are the fold's own members; the three statuses and the lines are compared beside them."""
ENDS = (FactType.COMPLETED, FactType.CANCELLED)


def history_findings(dossier: Dossier) -> Iterator[Finding]:
    """Where an order is not what happened to it; nothing when its history was not read."""
    facts = dossier.history
    if facts is None:
        return
    versions = [fact.version for fact in facts]
    if versions != list(range(1, len(facts) + 1)) or not facts:
        yield dossier.finding("history_differs", f"its history has the versions {_short(versions)}")
        return
    for end in ENDS:
        times = sum(fact.event_type == end for fact in facts)
        if times > 1:
            yield dossier.finding("two_ends", f"{end.value} stands {times} times in its history")
    try:
        order = rebuild(dossier.id, [(Fact(FactType(f.event_type), f.event_data), f.created_at) for f in facts])
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        yield dossier.finding("history_differs", f"its history cannot be read: {error}")
        return
    different = [name for name, folded, shown in _compared(order, dossier) if folded != shown]
    if different:
        yield dossier.finding("history_differs", f"other than its history: {', '.join(different)}")


def _compared(order: Order, dossier: Dossier) -> Iterator[tuple[str, Any, Any]]:
    row = dossier.order
    for name in SHOWN:
        yield name, getattr(order, name), getattr(row, name)
    yield "status", order.status.value, row.status
    yield "payment_status", order.payment_status.value, row.payment_status
    yield "fulfillment_status", order.fulfillment_status.value, row.fulfillment_status
    lines = [(line.product_id, line.quantity, line.unit_price) for line in order.lines]
    yield "items", sorted(lines), sorted((item.product_id, item.quantity, item.unit_price) for item in dossier.items)


def _short(versions: list[int]) -> str:
    return ", ".join(map(str, versions[:20])) + (", …" if len(versions) > 20 else "") if versions else "none"
