"""All that the services know of one order: their rows, side by side.

Invariant: a dossier holds what its laws need and nothing that moves without meaning (attempts, leases), so that two
equal dossiers mean that nothing has happened to the order in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orderwright.audit.checks import mark_of
from orderwright.audit.findings import Finding
from orderwright.services.order.domain import CancelReason, OrderStatus


@dataclass(slots=True)
class Dossier:
    """One order. The rows are the services' own; None where a service has none."""

    id: str
    order: Any = None
    items: list[Any] = field(default_factory=list)
    history: list[Any] | None = None
    """The facts in their order; None when this look does not read them."""
    saga: Any = None
    payment: Any = None
    refunds: list[Any] = field(default_factory=list)
    reservation: Any = None
    lines: list[Any] = field(default_factory=list)
    shipment: Any = None
    shipping_knows: Any = None
    notification_knows: Any = None
    told: list[Any] = field(default_factory=list)
    """Notifications about it."""
    cart: Any = None

    @property
    def mark(self) -> str:
        """A digest of all of it but the history, which never changes without the order's version."""
        return mark_of(
            (self.order, self.items, self.saga, self.payment, sorted(self.refunds), self.reservation),
            (sorted(self.lines), self.shipment, self.shipping_knows, self.notification_knows, sorted(self.told)),
            self.cart,
        )

    @property
    def changed_at(self) -> datetime | None:
        """When anything last happened to it, in any service; None when nobody says."""
        single = (self.order, self.saga, self.payment, self.reservation, self.shipment, self.cart)
        times = [row.updated_at for row in single if row is not None]
        times += [refund.updated_at for refund in self.refunds]
        times += [told.created_at for told in self.told]
        times += [fact.created_at for fact in self.history or ()]
        return max(times, default=None)

    @property
    def status(self) -> OrderStatus:
        return OrderStatus(self.order.status)

    @property
    def has_goods(self) -> bool:
        return bool(self.items)

    @property
    def announced(self) -> bool:
        """Whether the services were told of it: an order of an unknown product is only kept, for its customer."""
        return str(self.order.cancel_reason) != CancelReason.UNKNOWN_PRODUCT

    @property
    def captured(self) -> bool:
        """Whether its money was taken."""
        return self.payment is not None and self.payment.status == "success"

    @property
    def ordered(self) -> Mapping[str, int]:
        """How many of each product were ordered."""
        return _sums(self.items)

    @property
    def held(self) -> str | None:
        """The status of its reservation."""
        return None if self.reservation is None else str(self.reservation.status)

    @property
    def sent(self) -> str | None:
        """The status of its shipment."""
        return None if self.shipment is None else str(self.shipment.status)

    @property
    def set_aside(self) -> Mapping[str, int]:
        """How many of each product its reservation holds."""
        return _sums(self.lines)

    def finding(self, kind: str, detail: str) -> Finding:
        """Something found about this order."""
        return Finding(kind, f"order {self.id}", detail, self.id)


def _sums(lines: list[Any]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.product_id] = sums.get(line.product_id, 0) + line.quantity
    return sums
