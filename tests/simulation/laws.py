"""What must hold when everything has come to rest; judged from the databases, the provider's books and the journal.

Small and by itself on purpose: it shares no line with the code that it judges. Each breach begins with the name of its
law.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from tests.simulation.disk import Disk
from tests.simulation.outside import Post
from tests.simulation.people import Journal
from tests.simulation.trace import Trace

Disks = Mapping[str, Disk]

UNFINISHED: tuple[tuple[str, str, str], ...] = (
    ("order", "sagas have not ended", "SELECT COUNT(*) FROM order_sagas WHERE status IN ('running', 'compensating')"),
    ("order", "cancellations are undecided", "SELECT COUNT(*) FROM orders WHERE cancel_requested IS NOT NULL"),
    ("payment", "charges are under way", "SELECT COUNT(*) FROM payments WHERE status = 'charging'"),
    ("payment", "refunds are under way", "SELECT COUNT(*) FROM refunds WHERE status = 'pending'"),
    ("inventory", "reservations live", "SELECT COUNT(*) FROM reservations WHERE status = 'reserved'"),
    ("inventory", "levels are untold", "SELECT COUNT(*) FROM products WHERE dirty"),
    ("notification", "notifications are queued", "SELECT COUNT(*) FROM notifications WHERE status = 'queued'"),
)
CHARGED = "SELECT key, amount_minor FROM charges WHERE outcome = 'captured'"
RETURNED = "SELECT charge_key, SUM(amount_minor) FROM refunds GROUP BY charge_key"
PAYMENTS = "SELECT id, order_id, amount_minor, captured_minor, promised_minor, refunded_minor FROM payments"
LEVELS = "SELECT product_id, on_hand, reserved, received, sold, returned FROM stock"
DEDUCTED = (
    "SELECT r.order_id, l.product_id, l.quantity FROM reservation_lines l JOIN reservations r ON r.id = l.reservation_id "
    "WHERE r.status = 'deducted'"
)
HELD = (
    "SELECT l.product_id, SUM(l.quantity) FROM reservation_lines l JOIN reservations r ON r.id = l.reservation_id "
    "WHERE r.status = 'reserved' GROUP BY l.product_id"
)
ORDERED = (
    "SELECT i.order_id, i.product_id, i.quantity FROM order_items i JOIN orders o ON o.id = i.order_id "
    "WHERE o.status = 'completed'"
)
FACTS = "SELECT order_id, COUNT(*), MIN(version), MAX(version) FROM order_events GROUP BY order_id"


def unfinished(disks: Disks) -> list[str]:
    """What is left to do, by service."""
    left = [
        f"{service}: {count} {what}"
        for service, what, query in UNFINISHED
        if (count := disks[service].rows(query)[0][0])
    ]
    for service, disk in disks.items():
        if service == "sandbox":
            continue
        for what, query in (
            ("messages unsent", "SELECT COUNT(*) FROM outbox"),
            ("messages kept", "SELECT COUNT(*) FROM kept_messages WHERE state = 'retrying'"),
        ):
            if count := disk.rows(query)[0][0]:
                left.append(f"{service}: {count} {what}")
    return left


def judge(disks: Disks, journal: Journal, post: Post, trace: Trace) -> list[str]:
    """Every breach of every law, in an order that is always the same."""
    orders = {row[0]: row for row in disks["order"].rows("SELECT id, status, customer_id, total_amount FROM orders")}
    status = {id_: row[1] for id_, row in orders.items()}
    customers = {id_: row[2] for id_, row in orders.items()}
    return [
        *sorted(_of_orders(disks, journal, status, customers)),
        *sorted(_of_money(disks, status)),
        *sorted(_of_stock(disks, status)),
        *sorted(_of_shipping(disks, status)),
        *sorted(_of_messages(disks, post, status)),
        *sorted(_of_promises(disks, journal, status)),
        *sorted(f"errors: {what.removeprefix('alarm: ')}" for what in trace.reached if what.startswith("alarm: ")),
    ]


def _of_orders(
    disks: Disks, journal: Journal, status: Mapping[str, str], customers: Mapping[str, str]
) -> Iterator[str]:
    """One order a customer, one end an order, a history without gaps."""
    for order_id, end in status.items():
        if end not in {"completed", "cancelled"}:
            yield f"one end: order {order_id} ends as {end}"
    placed = Counter(customers.values())
    for customer, count in placed.items():
        if count > 1:
            yield f"one order: {customer} wanted one and has {count}"
        if customer not in journal.wanted:
            yield f"one order: {customer} wanted none and has {count}"
    for order_id, count, first, last in disks["order"].rows(FACTS):
        if (first, last) != (1, count):
            yield f"history: order {order_id} has {count} facts numbered {first} to {last}"
    sagas = dict(disks["order"].rows("SELECT order_id, status FROM order_sagas"))
    for order_id, end in status.items():
        if (end == "completed") != (sagas.get(order_id) == "completed"):
            yield f"one end: order {order_id} is {end}, its saga {sagas.get(order_id)}"


def _of_money(disks: Disks, status: Mapping[str, str]) -> Iterator[str]:
    """The provider's books, ours and the order's end say the same."""
    charged: dict[str, int] = dict(disks["sandbox"].rows(CHARGED))
    returned: dict[str, int] = dict(disks["sandbox"].rows(RETURNED))
    totals = dict(disks["order"].rows("SELECT id, total_amount FROM orders"))
    known = set()
    for payment, order_id, amount, captured, promised, refunded in disks["payment"].rows(PAYMENTS):
        known.add(payment)
        if captured != charged.get(payment, 0):
            yield f"money: {payment} captured {captured} in our books, {charged.get(payment, 0)} in the provider's"
        if not refunded == promised == returned.get(payment, 0):
            yield f"money: {payment} gave back {refunded} of {promised}, the provider {returned.get(payment, 0)}"
        kept, end = captured - refunded, status.get(order_id)
        if (kept > 0) != (end == "completed"):
            yield f"money: order {order_id} is {end} and {kept} are kept"
        if end == "completed" and _minor(totals[order_id]) != amount:
            yield f"money: order {order_id} costs {totals[order_id]}, its payment says {amount}"
    for key in sorted(set(charged) - known):
        yield f"money: the provider took {charged[key]} under {key}, which is no payment of ours"
    for order_id, end in status.items():
        if end == "completed" and not disks["payment"].rows("SELECT 1 FROM payments WHERE order_id = ?", order_id):
            yield f"money: order {order_id} is completed and has no payment"


def _of_stock(disks: Disks, status: Mapping[str, str]) -> Iterator[str]:
    """Nothing appears, nothing disappears, nothing stays set aside for nobody; and the catalog tells the truth."""
    inventory = disks["inventory"]
    held: dict[str, int] = dict(inventory.rows(HELD))
    deducted = _by_order(inventory.rows(DEDUCTED))
    shown = dict(disks["catalog"].rows("SELECT id, quantity FROM products"))
    for product, on_hand, reserved, received, sold, back in inventory.rows(LEVELS):
        if on_hand != received - sold + back:
            yield f"stock: {on_hand} {product} on hand, received {received}, sold {sold}, back {back}"
        if reserved != held.get(product, 0) or reserved:
            yield f"stock: {reserved} {product} set aside, reservations of {held.get(product, 0)} live"
        gone = sum(lines[product] for lines in deducted.values())
        if sold - back != gone:
            yield f"stock: {sold - back} {product} have left, reservations know of {gone}"
        if shown.get(product) != on_hand - reserved:
            yield f"catalog: it shows {shown.get(product)} {product}, {on_hand - reserved} are there"
    ordered = _by_order(disks["order"].rows(ORDERED))
    for order_id in sorted(set(ordered) | set(deducted)):
        if ordered.get(order_id) != deducted.get(order_id):
            yield (
                f"goods: order {order_id} is {status.get(order_id)} with {dict(ordered.get(order_id, {}))}, "
                f"{dict(deducted.get(order_id, {}))} left the stock"
            )


def _of_shipping(disks: Disks, status: Mapping[str, str]) -> Iterator[str]:
    """What is complete has a shipment, what is cancelled has not left, and both services say the same."""
    shipments: dict[str, str] = dict(disks["shipping"].rows("SELECT order_id, status FROM shipments"))
    query = "SELECT id, fulfillment_status FROM orders"
    fulfilled = {"shipped": "shipped", "delivered": "delivered"}
    goods = {row[0] for row in disks["order"].rows("SELECT DISTINCT order_id FROM order_items")}
    for order_id, fulfillment in disks["order"].rows(query):
        shipment, end = shipments.get(order_id), status[order_id]
        if end == "completed" and order_id in goods and shipment not in {"pending", "shipped", "delivered"}:
            yield f"shipping: order {order_id} is completed, its shipment {shipment}"
        if end == "cancelled" and shipment not in {None, "cancelled"}:
            yield f"shipping: order {order_id} is cancelled, its shipment {shipment}"
        if fulfillment != fulfilled.get(str(shipment), "unfulfilled"):
            yield f"shipping: order {order_id} is {fulfillment}, its shipment {shipment}"


def _of_messages(disks: Disks, post: Post, status: Mapping[str, str]) -> Iterator[str]:
    """No dead letters; each order is confirmed once if it was completed, and the mail has left."""
    for service, disk in disks.items():
        if service == "sandbox":
            continue
        for topic, error in disk.rows("SELECT topic, error FROM kept_messages WHERE state = 'dead'"):
            yield f"dead letter: {service} could not handle {topic}: {error}"
    told = "SELECT id, order_id, type, status FROM notifications"
    notices = disks["notification"].rows(told)
    confirmed = Counter(row[1] for row in notices if row[2] == "order_confirmation")
    completed = {
        row[0] for row in disks["order"].rows("SELECT order_id FROM order_events WHERE event_type = 'order_completed'")
    }
    for order_id in sorted(completed | set(confirmed)):
        if confirmed[order_id] != (order_id in completed):
            yield f"confirmed once: order {order_id} is {status.get(order_id)}, confirmed {confirmed[order_id]} times"
    kinds = Counter((row[1], row[2]) for row in notices if row[2] != "refund_issued")
    for (order_id, kind), count in kinds.items():
        if count > 1:
            yield f"told once: order {order_id} was told {kind} {count} times"
    sent = {id_ for id_, _ in post.taken}
    for id_, order_id, kind, state in notices:
        if state == "sent" and id_ not in sent:
            yield f"mail: {kind} of {order_id} counts as sent and never was"
    cancelled = {order_id for order_id, end in status.items() if end == "cancelled"}
    told_so = {row[1] for row in notices if row[2] == "order_cancelled"}
    # A cart that could never become an order is cancelled without a word; nothing of it was announced.
    for order_id in sorted((told_so - cancelled) | (cancelled - told_so - _unannounced(disks))):
        yield f"told once: order {order_id} is {status.get(order_id)}, its customer was told otherwise"


def _of_promises(disks: Disks, journal: Journal, status: Mapping[str, str]) -> Iterator[str]:
    """What clients were told is true."""
    lines = _by_order(disks["order"].rows("SELECT order_id, product_id, quantity FROM order_items"))
    captured = dict(disks["payment"].rows("SELECT order_id, captured_minor FROM payments"))
    seen: dict[str, list[str]] = {}
    refunds: dict[tuple[str, str], set[str]] = {}
    for told in journal.told:
        end = status.get(told.order_id)
        if end is None:
            yield f"promise: {told.what} was said of order {told.order_id}, which does not exist"
        elif told.what == "paid" and not captured.get(told.order_id):
            yield f"promise: order {told.order_id} was said to be paid"
        elif told.what in {"cancelled", "no stock"} and end != "cancelled":
            yield f"promise: order {told.order_id} was said to be cancelled and is {end}"
        elif told.what in {"shipped", "left"} and end != "completed":
            yield f"promise: order {told.order_id} was said to have {told.what} and is {end}"
        elif told.what == "declined" and end != "cancelled":
            yield f"promise: order {told.order_id} was said to be declined and is {end}"
        elif told.what == "seen":
            seen.setdefault(told.order_id, []).append(told.detail)
        elif told.what == "refunded":
            key, refund = told.detail
            refunds.setdefault((told.order_id, key), set()).add(refund)
    changes = {told.order_id: told.detail for told in journal.told if told.what == "changed"}
    for order_id, wanted in changes.items():
        merged: Counter[str] = Counter()
        for product, quantity in wanted:
            merged[product] += quantity
        if lines.get(order_id) != merged:
            yield f"promise: order {order_id} was said to have other goods: {dict(merged)}"
    for order_id, states in seen.items():
        if "completed" in states and status[order_id] not in {"completed", "cancelled"}:
            yield f"promise: order {order_id} was seen completed and is {status[order_id]}"
        if "cancelled" in states and status[order_id] != "cancelled":
            yield f"promise: order {order_id} was seen cancelled and is {status[order_id]}"
    for (order_id, key), ids in refunds.items():
        if len(ids) > 1:
            yield f"promise: {key} of order {order_id} was refunded {len(ids)} times"


def _by_order(rows: list[tuple[Any, ...]]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for order_id, product, quantity in rows:
        found.setdefault(order_id, Counter())[product] += quantity
    return found


def _unannounced(disks: Disks) -> set[str]:
    query = "SELECT id FROM orders WHERE cancel_reason = 'unknown_product'"
    return {row[0] for row in disks["order"].rows(query)}


def _minor(amount: Any) -> int:
    return int(Decimal(str(amount)) * 100)
