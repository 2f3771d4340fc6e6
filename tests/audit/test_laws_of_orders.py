"""Each law of an order is broken once by hand, in one row of one service, and exactly that is found."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import sqlalchemy as sa

from orderwright.services.inventory.tables import reservation_lines, reservations
from orderwright.services.notification.tables import notifications
from orderwright.services.notification.tables import orders as noted_orders
from orderwright.services.order.tables import order_events, order_items, order_sagas, orders
from orderwright.services.payment.tables import payments
from orderwright.services.shipping.tables import orders as shipping_orders
from orderwright.services.shipping.tables import shipments
from tests.audit.ledger import Ledger

LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Breach:
    """One row changed by hand, and the kind of finding that it must be."""

    kind: str
    of: str
    """Which order of the day."""
    service: str
    change: Callable[[str], sa.Executable]
    histories: int = 0
    """A projection that is changed by hand is also not what its history says; that is looked at where it is meant."""
    says: str = ""


def _set(table: sa.Table, *, by: str = "order_id", **values: Any) -> Callable[[str], sa.Executable]:
    return lambda order_id: sa.update(table).where(table.c[by] == order_id).values(**values)


def _gone(table: sa.Table, *, by: str = "order_id") -> Callable[[str], sa.Executable]:
    return lambda order_id: sa.delete(table).where(table.c[by] == order_id)


def _told(type_: str) -> Callable[[str], sa.Executable]:
    n = notifications.c
    return lambda order_id: sa.delete(notifications).where(n.order_id == order_id, n.type == type_)


def _line(order_id: str) -> sa.Executable:
    its = sa.select(reservations.c.id).where(reservations.c.order_id == order_id)
    return (
        sa.update(reservation_lines).where(reservation_lines.c.reservation_id.in_(its)).values(product_id="product-456")
    )


def _fact(type_: str, **values: Any) -> Callable[[str], sa.Executable]:
    e = order_events.c
    return lambda order_id: (
        sa.update(order_events).where(e.order_id == order_id, e.event_type == type_).values(**values)
    )


BREACHES: Final = (
    Breach("charged_amount", "completed", "order", _set(orders, by="id", total_amount=1), says="took 79.97 USD"),
    Breach("charged_amount", "waiting", "payment", _set(payments, amount_minor=1), says="payment asks for 0.01 USD"),
    Breach("payment_unheard", "an amount", "order", _set(orders, by="id", paid=False), says="not paid"),
    Breach("payment_unheard", "declined", "order", _set(orders, by="id", payment_failed=False), says="failed"),
    Breach("payment_unheard", "completed", "order", _set(orders, by="id", payment_id=None), says="shows payment None"),
    Breach("refund_unheard", "refunded in part", "order", _set(orders, by="id", refunded_amount=4), says="5.00 USD"),
    Breach("goods_kept", "too much", "inventory", _set(reservations, status="deducted"), says="deducted"),
    Breach("goods_missing", "completed", "inventory", _set(reservations, status="cancelled"), says="cancelled"),
    Breach("goods_missing", "waiting", "inventory", _set(reservations, order_id=None), says="nothing"),
    Breach("goods_differ", "from a cart", "inventory", _line, says="2 of product-789; deducted: 2 of product-456"),
    Breach("stock_unheard", "waiting", "payment", _set(payments, stock_reserved=False), says="payment has not heard"),
    Breach("two_ends", "completed", "order", _fact("stock_deducted", event_type="order_completed"), histories=1),
    Breach("history_differs", "completed", "order", _set(orders, by="id", tracking_number="1"), histories=1),
    Breach("history_differs", "an amount", "order", _set(orders, by="id", version=99), histories=1, says="version"),
    Breach("history_differs", "declined", "order", _fact("payment_failed", version=77), histories=1, says="versions"),
    Breach("history_differs", "changed", "order", _set(order_items, unit_price=1), histories=1, says="items"),
    Breach("saga_differs", "completed", "order", _set(order_sagas, status="running"), says="saga is running"),
    Breach("saga_differs", "cancelled late", "order", _gone(order_sagas), says="no saga"),
    Breach("saga_overdue", "waiting", "order", _set(order_sagas, due_at=LONG_AGO), says="was due at"),
    Breach(
        "cancellation_overdue",
        "completed",
        "order",
        _set(orders, by="id", cancel_requested="staff_request", updated_at=LONG_AGO),
        says="staff_request",
    ),
    Breach("shipped_and_cancelled", "cancelled late", "order", _set(orders, by="id", fulfillment_status="shipped")),
    Breach("shipment_missing", "completed", "shipping", _gone(shipments), says="none"),
    Breach("shipment_missing", "from a cart", "shipping", _set(shipments, status="cancelled"), says="cancelled"),
    Breach("shipment_open", "cancelled late", "shipping", _set(shipments, status="pending"), says="can be sent"),
    Breach("shipment_unheard", "delivered", "shipping", _set(shipments, status="shipped"), says="shows delivered"),
    Breach("order_unheard", "completed", "shipping", _gone(shipping_orders), says="shipping never heard"),
    Breach("order_unheard", "completed", "notification", _gone(noted_orders), says="notification never heard"),
    Breach("cancellation_unheard", "cancelled early", "payment", _set(payments, order_cancelled=False), says="payment"),
    Breach("cancellation_unheard", "declined", "inventory", _set(reservations, status="expired"), says="inventory"),
    Breach("cancellation_unheard", "declined", "shipping", _gone(shipments), says="shipping"),
    Breach("notification_missing", "completed", "notification", _told("order_confirmation")),
    Breach("notification_missing", "cancelled late", "notification", _told("refund_issued"), says="refund_issued"),
    Breach("notification_missing", "declined", "notification", _told("payment_failed"), says="payment_failed"),
    Breach("notification_missing", "delivered", "notification", _told("order_delivered"), says="order_delivered"),
    Breach("charge_overdue", "waiting", "payment", _set(payments, status="charging", updated_at=LONG_AGO)),
)


@pytest.mark.parametrize("breach", BREACHES, ids=lambda b: f"{b.kind} of {b.of} in {b.service} {b.says}".strip())
async def test_a_breach_of_an_orders_law_is_found_and_nothing_else(ledger: Ledger, breach: Breach) -> None:
    order_id = ledger.story[breach.of]
    await ledger.change(breach.service, breach.change(order_id))
    report = await ledger.audit(histories=breach.histories)
    [finding] = [finding for finding in report.findings if finding.subject.startswith(("order", "payment"))]
    assert (finding.kind, finding.subject) == (breach.kind, f"order {order_id}")
    assert breach.says in finding.detail
