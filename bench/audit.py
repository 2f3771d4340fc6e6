"""What an audit costs: makes the books of so many completed orders, audits them, and prints time and peak memory.

python -m bench.audit --orders 200000 --url sqlite:////tmp/books
python -m bench.audit --orders 200000 --url postgresql://user@host/books
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from orderwright.audit.books import AUDITED, SANDBOX
from orderwright.cli.operate import migrations_of
from orderwright.kernel.database import Database, open_database
from orderwright.kernel.ids import SystemIds
from orderwright.kernel.migrations import migrate
from orderwright.kernel.rows import insert, insert_ignoring
from orderwright.services.cart.tables import products as cart_products
from orderwright.services.catalog.tables import products
from orderwright.services.inventory import tables as inventory
from orderwright.services.notification import tables as notification
from orderwright.services.order import store
from orderwright.services.order.domain import Fact, FactType, Order, evolve, place
from orderwright.services.order.tables import order_sagas
from orderwright.services.order.tables import products as order_products
from orderwright.services.payment.providers.sandbox import charges
from orderwright.services.payment.tables import payments
from orderwright.services.shipping import tables as shipping

SKUS: Final = 200
BATCH: Final = 1000
PRICE: Final = Decimal("19.99")
LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)
STEPS: Final = ("reserve_inventory", "process_payment", "deduct_inventory", "send_confirmation")

Rows = list[tuple[sa.Table, list[dict[str, Any]]]]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--url", required=True)
    parser.add_argument("--made", action="store_true", help="the books are there from an earlier call")
    chosen = parser.parse_args()
    if not chosen.made:
        asyncio.run(make_books(chosen.url, chosen.orders))
    began_s = time.monotonic()
    environment = {**os.environ, "ORDERWRIGHT_DATABASE_URL": chosen.url}
    command = [sys.executable, "-m", "orderwright.cli.main", "reconcile"]
    status = subprocess.run(command, env=environment, check=False).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    sys.stdout.write(
        f"status {status}, {time.monotonic() - began_s:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU, "
        f"peak RSS {used.ru_maxrss / 1024:.0f} MiB\n"
    )


async def make_books(url: str, count: int, *, label: str = "sku") -> None:
    """Write `count` completed orders into a platform's databases, of goods whose ids begin with `label`."""
    databases = {name: open_database(url, name) for name in (*AUDITED, SANDBOX)}
    for name in AUDITED:
        await migrate(databases[name], migrations_of(name))
    await databases[SANDBOX].create()
    await databases[SANDBOX].write(charges.metadata.create_all)
    ids = SystemIds()
    sold = [0] * SKUS
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        for number in numbers:
            sold[number % SKUS] += 1
        orders = [_order(ids, number, label) for number in numbers]
        await databases["order"].write(partial(_enter_orders, ids=ids, orders=orders))
        for service, rows in _elsewhere(ids, [order for order, _ in orders]).items():
            await _insert(databases[service], rows)
    for service, rows in _goods(sold, label).items():
        await _insert(databases[service], rows)
    for database in databases.values():
        await database.close()


def _order(ids: SystemIds, number: int, label: str) -> tuple[Order, list[tuple[Fact, datetime]]]:
    at = LONG_AGO + timedelta(seconds=number)
    product = _sku(label, number % SKUS)
    line = {"product_id": product, "quantity": 1, "unit_price": str(PRICE)}
    placed = {"customer_id": f"customer-{number % 5000}", "placed_by": f"customer-{number % 5000}", "currency": "USD"}
    paid, items = {"payment_id": ids.new()}, {"items": [{"product_id": product, "quantity": 1}]}
    facts = [
        Fact(FactType.PLACED, {**placed, "total_amount": str(PRICE), "items": [line]}),
        Fact(FactType.PAYMENT_INITIATED, paid),
        Fact(FactType.STOCK_RESERVED, items),
        Fact(FactType.PAYMENT_COMPLETED, paid),
        Fact(FactType.STOCK_DEDUCTED, items),
        Fact(FactType.COMPLETED, {}),
    ]
    order = place(facts[0], ids.new(), at)
    for fact in facts[1:]:
        order = evolve(order, fact, at)
    return order, [(fact, at) for fact in facts]


def _enter_orders(
    connection: sa.Connection, ids: SystemIds, orders: Sequence[tuple[Order, list[tuple[Fact, datetime]]]]
) -> None:
    store.append_facts(
        connection,
        [(ids.new(), order.id, version, *fact) for order, facts in orders for version, fact in enumerate(facts, 1)],
    )
    store.insert_orders(connection, [order for order, _ in orders], iter(ids.new, ""))
    done = {"status": "completed", "begun": True, "undo_attempts": 0, "undoing": False, "reason": None}
    steps = [{"name": name, **done} for name in STEPS]
    sagas = [
        {"order_id": order.id, "status": "completed", "steps": steps, "updated_at": LONG_AGO} for order, _ in orders
    ]
    insert(connection, order_sagas, sagas)


def _elsewhere(ids: SystemIds, orders: Sequence[Order]) -> dict[str, Rows]:
    times = {"created_at": LONG_AGO, "updated_at": LONG_AGO}
    minor = {"amount_minor": 1999, "currency": "USD"}
    reserved = [(ids.new(), order) for order in orders]
    return {
        "payment": [(payments, [_payment(order, {**minor, **times}) for order in orders])],
        SANDBOX: [(charges, [{"key": o.payment_id, "outcome": "captured", **minor, "at": LONG_AGO} for o in orders])],
        "inventory": [
            (
                inventory.reservations,
                [{"id": id_, "order_id": o.id, "kind": "order", "status": "deducted", **times} for id_, o in reserved],
            ),
            (inventory.reservation_lines, list(_lines(reserved))),
        ],
        "shipping": [
            (shipping.orders, [_shipped(order) for order in orders]),
            (shipping.shipments, [{"id": ids.new(), "order_id": o.id, "status": "pending", **times} for o in orders]),
        ],
        "notification": [
            (notification.orders, [{"order_id": o.id, "customer_id": o.customer_id, "details": {}} for o in orders]),
            (notification.notifications, [_confirmation(ids, order) for order in orders]),
        ],
    }


def _shipped(order: Order) -> dict[str, Any]:
    return {"order_id": order.id, "customer_id": order.customer_id, "has_goods": True, "completed": True}


def _payment(order: Order, rest: dict[str, Any]) -> dict[str, Any]:
    flags = {"needs_stock": True, "stock_reserved": True, "order_cancelled": False, "attempts": 1}
    moved = {"captured_minor": 1999, "promised_minor": 0, "refunded_minor": 0}
    return {
        "id": order.payment_id,
        "order_id": order.id,
        "status": "success",
        "provider": SANDBOX,
        **flags,
        **moved,
        **rest,
    }


def _lines(reserved: Sequence[tuple[str, Order]]) -> Iterator[dict[str, Any]]:
    for id_, order in reserved:
        for line in order.lines:
            yield {
                "reservation_id": id_,
                "product_id": line.product_id,
                "warehouse_id": "main",
                "quantity": line.quantity,
            }


def _confirmation(ids: SystemIds, order: Order) -> dict[str, Any]:
    return {
        "id": ids.new(),
        "type": "order_confirmation",
        "channel": "email",
        "once": f"order_confirmation:{order.id}",
        "order_id": order.id,
        "context": {},
        "status": "sent",
        "attempts": 1,
        "created_at": LONG_AGO,
    }


def _goods(sold: Sequence[int], label: str) -> dict[str, Rows]:
    times = {"created_at": LONG_AGO, "updated_at": LONG_AGO}
    names = [_sku(label, number) for number in range(len(sold))]
    priced = {"price": PRICE, "currency": "USD", "deleted": False}
    level = {"reserved": 0, "returned": 0, "on_hand": 10}
    stock = [
        {"product_id": name, "warehouse_id": "main", **level, "sold": n, "received": n + 10}
        for name, n in zip(names, sold, strict=True)
    ]
    kept = [{"product_id": name, **priced} for name in names]
    known = {"deleted": False, "dirty": False}
    main = {"id": "main", "name": "Main", "priority": 0, "active": True, "created_at": LONG_AGO}
    said = [{"id": name, "name": name, **priced, "quantity": 10, "version": 1, **times} for name in names]
    return {
        "catalog": [(products, said)],
        "order": [(order_products, [{**row, "changed_at": LONG_AGO} for row in kept])],
        "cart": [(cart_products, kept)],
        "inventory": [
            (inventory.warehouses, [main]),
            (inventory.products, [{"product_id": name, **known} for name in names]),
            (inventory.stock, stock),
        ],
    }


async def _insert(database: Database, rows: Rows) -> None:
    def work(connection: sa.Connection) -> None:
        for table, kept in rows:
            # The warehouse may be there.
            insert_ignoring(connection, table, kept)

    await database.write(work)


def _sku(label: str, number: int) -> str:
    return f"{label}-{number:05d}"


if __name__ == "__main__":
    main()
