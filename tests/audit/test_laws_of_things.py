"""Stock, products, messages, and what belongs to orders that do not exist."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest
import sqlalchemy as sa

from orderwright.kernel.tables import kept_messages, outbox
from orderwright.services.cart.tables import carts
from orderwright.services.cart.tables import products as cart_products
from orderwright.services.catalog.tables import products
from orderwright.services.inventory.tables import products as stocked
from orderwright.services.inventory.tables import reservations, stock
from orderwright.services.order.tables import products as order_products
from orderwright.services.payment.tables import payments
from orderwright.services.shipping.tables import shipments
from tests.audit.ledger import Ledger

LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY: Final = "01980000-0000-7000-8000-000000000000"


def _stock(product_id: str) -> sa.Update:
    return sa.update(stock).where(stock.c.product_id == product_id)


async def test_a_counter_of_what_is_set_aside_that_no_reservation_explains_is_found(ledger: Ledger) -> None:
    level = stock.c
    more = _stock("paper-009").values(reserved=2, on_hand=level.on_hand + 2, received=level.received + 2)
    await ledger.change("inventory", more)
    report = await ledger.audit()
    assert [(f.kind, f.subject) for f in report.findings] == [("stock_reserved", "paper-009 in main")]


async def test_a_counter_of_what_was_sold_that_no_reservation_explains_is_found(ledger: Ledger) -> None:
    change = _stock("product-123").values(sold=stock.c.sold + 3, received=stock.c.received + 3)
    await ledger.change("inventory", change)
    [finding] = (await ledger.audit()).findings
    assert (finding.kind, finding.subject) == ("stock_sold", "product-123 in main")


async def test_stock_that_does_not_add_up_is_found(ledger: Ledger) -> None:
    change = _stock("product-123").values(received=stock.c.received + 1)
    await ledger.change("inventory", change, unchecked=("stock", "ck_stock_adds_up"))
    [finding] = (await ledger.audit()).findings
    assert (finding.kind, finding.subject) == ("stock_sum", "product-123 in main")


async def test_goods_that_were_taken_where_nothing_ever_lay_are_found(ledger: Ledger) -> None:
    await ledger.change("inventory", _stock("product-789").values(warehouse_id="moon"))
    report = await ledger.audit()
    assert sorted((f.kind, f.subject) for f in report.findings) == [
        ("level_unheard", "product product-789"),
        ("stock_sold", "product-789 in main"),
        ("stock_sold", "product-789 in moon"),
    ]


@pytest.mark.parametrize(
    ("kind", "service", "change", "says"),
    [
        ("product_unheard", "order", sa.delete(order_products), "order does not know it"),
        ("product_unheard", "cart", sa.update(cart_products).values(deleted=True), "it is not deleted, and cart"),
        ("price_differs", "order", sa.update(order_products).values(price=Decimal("1.00")), "in order 1.00 USD"),
        ("price_differs", "cart", sa.update(cart_products).values(currency="EUR"), "in cart 29.99 EUR"),
        ("level_unheard", "catalog", sa.update(products).values(quantity=3), "the catalog shows 3"),
    ],
)
async def test_a_copy_that_does_not_follow_the_catalog_is_found(
    ledger: Ledger, kind: str, service: str, change: Any, says: str
) -> None:
    key = change.table.c.id if service == "catalog" else change.table.c.product_id
    await ledger.change(service, change.where(key == "product-123"))
    [finding] = (await ledger.audit()).findings
    assert (finding.kind, finding.subject, finding.key) == (kind, "product product-123", "product-123")
    assert says in finding.detail


async def test_a_level_that_is_about_to_be_told_is_no_finding(ledger: Ledger) -> None:
    await ledger.change("catalog", sa.update(products).where(products.c.id == "product-123").values(quantity=3))
    change = sa.update(stocked).where(stocked.c.product_id == "product-123")
    await ledger.change("inventory", change.values(dirty=True))
    assert (await ledger.audit()).clean


@pytest.mark.parametrize(
    ("kind", "service", "row"),
    [
        (
            "payment_without_order",
            "payment",
            sa.insert(payments).values(
                status="success",
                amount_minor=5,
                currency="USD",
                needs_stock=True,
                stock_reserved=True,
                order_cancelled=False,
                provider="stripe",
                captured_minor=5,
                promised_minor=0,
                refunded_minor=0,
                attempts=0,
            ),
        ),
        ("reservation_without_order", "inventory", sa.insert(reservations).values(kind="order", status="reserved")),
        ("shipment_without_order", "shipping", sa.insert(shipments).values(status="pending")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_belongs_to_an_order_that_does_not_exist_is_found(
    ledger: Ledger, kind: str, service: str, row: sa.Insert
) -> None:
    whole = row.values(id=NOBODY, order_id=NOBODY, created_at=LONG_AGO, updated_at=LONG_AGO)
    await ledger.change(service, whole)
    assert [(f.kind, f.subject) for f in (await ledger.audit()).findings] == [(kind, f"order {NOBODY}")]


async def test_what_was_set_aside_by_hand_needs_no_order(ledger: Ledger) -> None:
    row = {"kind": "manual", "status": "reserved", "created_at": LONG_AGO, "updated_at": LONG_AGO}
    await ledger.change("inventory", sa.insert(reservations).values(id=NOBODY, order_id="a fair in May", **row))
    assert (await ledger.audit()).clean


async def test_a_cart_that_was_checked_out_and_became_no_order_is_found(ledger: Ledger) -> None:
    row = {"id": NOBODY, "user_id": "ada", "open_for": None, "created_at": LONG_AGO, "updated_at": LONG_AGO}
    await ledger.change("cart", sa.insert(carts).values(row))
    assert [(f.kind, f.key) for f in (await ledger.audit()).findings] == [("cart_without_order", NOBODY)]


async def test_an_event_that_is_not_sent_for_long_is_found(ledger: Ledger) -> None:
    await ledger.change("order", _waiting_event("somebody-else", LONG_AGO))
    [finding] = (await ledger.audit()).findings
    assert (finding.kind, finding.subject) == ("event_unsent", "event said-long-ago of order")
    assert "order.created of somebody-else" in finding.detail


async def test_a_message_that_was_given_up_is_found(ledger: Ledger) -> None:
    await ledger.change("inventory", _kept("dead", "somebody-else"))
    [finding] = (await ledger.audit()).findings
    assert (finding.kind, finding.subject) == ("dead_letter", f"message {NOBODY} of inventory")
    assert "order.created of somebody-else" in finding.detail


@pytest.mark.parametrize("where", ["outbox", "kept"])
async def test_an_order_for_which_a_message_waits_is_under_way(ledger: Ledger, where: str) -> None:
    order_id = ledger.story["completed"]
    await ledger.change("shipping", sa.delete(shipments).where(shipments.c.order_id == order_id))
    young = datetime.now(UTC)
    waits = _waiting_event(order_id, young) if where == "outbox" else _kept("retrying", order_id)
    await ledger.change("order" if where == "outbox" else "shipping", waits)
    report = await ledger.audit()
    assert "shipment_missing" not in report.by_kind
    assert report.under_way >= 1


def _waiting_event(key: str, since: datetime) -> sa.Insert:
    return sa.insert(outbox).values(
        id="said-long-ago",
        aggregatetype="order.created",
        aggregateid=key,
        type="order.created",
        payload=b"{}",
        version=1,
        source="/order",
        created_at=since,
        lease_until=since,
    )


def _kept(state: str, key: str) -> sa.Insert:
    times = {"next_attempt_at": LONG_AGO, "created_at": LONG_AGO, "updated_at": LONG_AGO}
    row = {"id": NOBODY, "state": state, "topic": "order.created", "key": key, "headers": {}, "body": b"{}"}
    return sa.insert(kept_messages).values(**row, attempts=8, holds=True, error="it broke", **times)
