"""The laws of an order's goods: set aside while it lives, gone when it is complete, back when it is cancelled.

Pure: a dossier in, findings out.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from orderwright.audit.findings import Finding
from orderwright.audit.orders.dossier import Dossier
from orderwright.services.order.domain import OrderStatus

HELD: Final = frozenset({"reserved", "deducted"})
FITTING: Final[Mapping[OrderStatus, frozenset[str | None]]] = {
    OrderStatus.PENDING: frozenset({None, "expired", "cancelled"}),
    # A reservation that ran out is no breach: a payment that comes all the same takes the goods, or is refunded.
    OrderStatus.AWAITING_PAYMENT: frozenset({"reserved", "expired"}),
    OrderStatus.CONFIRMED: frozenset(),
    OrderStatus.COMPLETED: frozenset({"deducted"}),
    OrderStatus.CANCELLED: frozenset({None, "expired", "cancelled"}),
}
"""What may have become of an order's goods once both are at rest; a paid order is at rest when it is complete."""


def goods_findings(dossier: Dossier) -> Iterator[Finding]:
    """What is wrong with the goods of an order that the order service knows."""
    held = dossier.held
    if not dossier.has_goods and dossier.status is not OrderStatus.CANCELLED:
        if held in HELD:
            yield dossier.finding("goods_differ", f"the order has no goods, and a reservation that is {held}")
        return
    if held not in FITTING[dossier.status]:
        yield dossier.finding(
            _kind(dossier), f"the order is {dossier.order.status}, its reservation is {held or 'nothing'}"
        )
    yield from _payment_deaf(dossier)
    yield from _other_goods(dossier)


def _kind(dossier: Dossier) -> str:
    """Which kind of misfit this is: goods kept for nobody, goods that are not there, or news that was not heard."""
    match dossier.status:
        case OrderStatus.CANCELLED:
            return "goods_kept"
        case OrderStatus.PENDING:
            return "stock_unheard"
        case OrderStatus.CONFIRMED if dossier.held in HELD:
            return "stock_unheard"
        case OrderStatus.COMPLETED if dossier.held == "reserved":
            return "stock_unheard"
        case _:
            return "goods_missing"


def _payment_deaf(dossier: Dossier) -> Iterator[Finding]:
    payment = dossier.payment
    if dossier.status is not OrderStatus.AWAITING_PAYMENT or payment is None or dossier.held != "reserved":
        return
    if payment.status == "pending" and not payment.stock_reserved:
        yield dossier.finding("stock_unheard", "the goods are set aside, and payment has not heard so")


def _other_goods(dossier: Dossier) -> Iterator[Finding]:
    """Goods that are set aside for, or went with, an order that names others."""
    changing = dossier.payment is not None and dossier.payment.held_by is not None
    if dossier.status is OrderStatus.CANCELLED or dossier.held not in HELD or changing:
        return
    if dossier.order.reserved and dossier.ordered != dossier.set_aside:
        yield dossier.finding(
            "goods_differ", f"ordered: {_listed(dossier.ordered)}; {dossier.held}: {_listed(dossier.set_aside)}"
        )


def _listed(quantities: Mapping[str, int]) -> str:
    return ", ".join(f"{quantity} of {product}" for product, quantity in sorted(quantities.items())) or "nothing"
