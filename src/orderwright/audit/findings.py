"""What the auditor can find: the kinds, what each means, and what to do about it.

Invariant: every finding is of a kind that stands here, so whoever reads a report is told what to do.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from orderwright.kernel.clock import rfc3339

MOST_NAMED: Final = 1000
"""Whoever has more findings of a kind has one cause for all of them."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which the books may disagree."""

    means: str
    do: str


_REPLAY: Final = "`orderwright dead-letters list` that service and replay what has this key; see whether it is ready."
_PUSH: Final = "POST /orders/{id}/saga/push says again what the order waits for; else: " + _REPLAY
_RESTORED: Final = "Was a database restored from a backup? Compare it with the others before anything is charged again."
_OURS: Final = "This is a fault of ours, or somebody changed rows by hand: report it."

KINDS: Final[Mapping[str, Kind]] = {
    # One order, across the services.
    "charged_amount": Kind(
        "what payment asks for, or took, is not what the order costs", "Refund the difference, or cancel the order."
    ),
    "payment_unheard": Kind(
        "the order and its payment disagree whether it is paid, or which payment it is",
        _REPLAY + " If there is none, cancel the order: what was taken is refunded.",
    ),
    "money_kept": Kind(
        "a cancelled order's money is neither back nor on its way", "POST /payments/{id}/refund gives it back."
    ),
    "refund_unheard": Kind("the order shows another amount as refunded than payment gave back", _REPLAY),
    "refund_overdue": Kind(
        "a refund was decided long ago and is not done",
        "See why the provider refuses (log line refund_postponed), or POST /payments/{id}/ask if it is unknown.",
    ),
    "charge_overdue": Kind(
        "the outcome of a charge is unknown for too long",
        "POST /payments/{id}/ask asks the provider now; docs/how-to/unknown-outcomes.md says more.",
    ),
    "goods_kept": Kind(
        "goods are set aside or gone for a cancelled order",
        "DELETE /reservations/{id} frees what is set aside; state the level of what was deducted. Else: " + _REPLAY,
    ),
    "goods_missing": Kind(
        "a living order has no goods behind it",
        "Cancel it: what was paid is refunded. Or restock before it is shipped.",
    ),
    "goods_differ": Kind(
        "other goods are set aside than were ordered", "PUT /reservations/{id} with the order's goods, or cancel it."
    ),
    "stock_unheard": Kind("the goods moved and the order, or its payment, has not heard so, or the reverse", _PUSH),
    "two_ends": Kind("an order's history has one end twice", _OURS),
    "shipped_and_cancelled": Kind(
        "an order was cancelled and its goods left all the same", "Call the goods back, or the customer."
    ),
    "shipment_missing": Kind("a completed order has no shipment to send", _REPLAY),
    "shipment_open": Kind("an order that is not complete can be shipped", "Do not ship it. " + _REPLAY),
    "shipment_unheard": Kind("the order shows another delivery than shipping does", _REPLAY),
    "notification_missing": Kind("the customer was never to be told of something that happened", _REPLAY),
    "order_unheard": Kind("a service has not heard that the order exists", _PUSH),
    "cancellation_unheard": Kind("a service has not heard that the order is cancelled", _PUSH),
    "saga_overdue": Kind(
        "an order waits longer than its deadline", "See whether a process runs with the role jobs. " + _PUSH
    ),
    "saga_differs": Kind("an order's saga and its status say different things", _OURS),
    "cancellation_overdue": Kind(
        "shipping was asked long ago to let go of the goods, and has not answered", "See whether shipping is ready."
    ),
    "history_differs": Kind(
        "an order is not what its history makes it",
        "`orderwright rebuild-orders` makes it anew from its history; for an order that is on its way it takes a "
        "minute or more, until nobody remembers it as it was.",
    ),
    "payment_without_order": Kind("money of an order that the order service does not know", _RESTORED),
    "reservation_without_order": Kind(
        "goods of an order that the order service does not know",
        "DELETE /reservations/{id} sets them free. " + _RESTORED,
    ),
    "shipment_without_order": Kind("a shipment of an order that the order service does not know", _RESTORED),
    "cart_without_order": Kind("a cart was checked out and did not become an order", _REPLAY),
    # Our books and the provider's.
    "charge_differs": Kind(
        "the provider took another amount than our books say", "The provider's word counts: correct ours by hand."
    ),
    "charge_unknown": Kind("the provider took money under a key that our books do not have", _RESTORED),
    "refund_differs": Kind(
        "the provider gave back another amount than our books say", "Compare the keys of the refunds at the provider."
    ),
    "refund_sums": Kind(
        "a payment's refunds do not add up to its totals", "Somebody changed rows by hand: compare `refunds`."
    ),
    # Stock.
    "stock_sum": Kind(
        "on hand is not received - sold + returned", "Count, and state the level: PUT /products/{id}/stock."
    ),
    "stock_reserved": Kind(
        "the counter of what is set aside is not the sum of the living reservations",
        "Somebody changed rows by hand: set `reserved` to the sum.",
    ),
    "stock_sold": Kind(
        "sold - returned is not the sum of the deducted reservations",
        "Somebody changed rows by hand: compare them with the orders.",
    ),
    # Messages.
    "event_unsent": Kind(
        "an event waits in an outbox for too long", "See whether the broker answers: /ready names the reason."
    ),
    "dead_letter": Kind(
        "a message was given up", "`orderwright dead-letters show` and `replay`, when the cause is gone."
    ),
    # Products.
    "product_unheard": Kind("a service does not know a product of the catalog as it is", _REPLAY),
    "price_differs": Kind("a service would charge, or show, another price than the catalog", _REPLAY),
    "level_unheard": Kind("the catalog shows another level than the inventory has", _REPLAY),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where the books disagree."""

    kind: str
    subject: str
    """What it is about: `order 0198…`, `payment 0198…`, `product-1 in main`, `message 0198… of order`."""
    detail: str
    key: str | None = None
    """The key of the events that would settle it: the order's id, or the product's."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of finding; the kinds are in audit/findings.py")

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "key": self.key,
            "detail": self.detail,
            "means": KINDS[self.kind].means,
            "do": KINDS[self.kind].do,
        }


@dataclass(slots=True)
class Report:
    """What one audit saw."""

    began_at: datetime
    took_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    """At most `MOST_NAMED` of each kind; `by_kind` counts all of them."""
    by_kind: Counter[str] = field(default_factory=Counter)
    looked_at: Counter[str] = field(default_factory=Counter)
    """How much of what was looked at: orders, charges, …"""
    suspects: int = 0
    """What looked wrong at first; most of it was under way."""
    under_way: int = 0
    """What still moved, or whose messages still wait, when the auditor stopped looking; the next audit's."""
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.by_kind

    def add(self, finding: Finding) -> None:
        """Count a finding, and name it while there are not too many of its kind."""
        self.by_kind[finding.kind] += 1
        if self.by_kind[finding.kind] <= MOST_NAMED:
            self.findings.append(finding)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "clean": self.clean,
            "began_at": rfc3339(self.began_at),
            "took_s": round(self.took_s, 3),
            "looked_at": dict(self.looked_at),
            "suspects": self.suspects,
            "under_way": self.under_way,
            "by_kind": dict(self.by_kind),
            "findings": [finding.document() for finding in self.findings],
            "notes": self.notes,
        }
