"""What must hold when everything has come to rest; judged from the databases, the provider's books and the journal.

Small and by itself on purpose: it shares no line with the code that it judges. Each breach begins with the name of its
law.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from tests.simulation import promises
from tests.simulation.disk import Disk
from tests.simulation.outside import Post
from tests.simulation.people import Journal
from tests.simulation.promises import by_order
from tests.simulation.trace import Trace

Disks = Mapping[str, Disk]

UNFINISHED: tuple[tuple[str, str, str], ...] = (
    ("order", "sagas have not ended", "SELECT COUNT(*) FROM order_sagas WHERE status IN ('running', 'compensating')"),
    ("order", "cancellations are undecided", "SELECT COUNT(*) FROM orders WHERE cancel_requested IS NOT NULL"),
    ("payment", "charges are under way", "SELECT COUNT(*) FROM payments WHERE status IN ('charging', 'unknown')"),
    ("payment", "refunds are under way", "SELECT COUNT(*) FROM refunds WHERE status <> 'done'"),
    ("inventory", "reservations live", "SELECT COUNT(*) FROM reservations WHERE status = 'reserved'"),
    ("inventory", "levels are untold", "SELECT COUNT(*) FROM products WHERE dirty"),
    ("notification", "notifications are queued", "SELECT COUNT(*) FROM notifications WHERE status = 'queued'"),
)
CHARGED = "SELECT key, amount_minor FROM charges WHERE outcome = 'captured'"
RETURNED = "SELECT charge_key, SUM(amount_minor) FROM refunds GROUP BY charge_key"
WANTED_BACK = "SELECT payment_id, SUM(amount_minor) FROM refunds WHERE requested_by IS NOT NULL GROUP BY payment_id"
PAYMENTS = "SELECT id, order_id, amount_minor, captured_minor, promised_minor, refunded_minor FROM payments"
LEVELS = "SELECT product_id, on_hand, reserved, received, sold, returned FROM stock"
DEDUCTED = (
    "SELECT r.order_id, l.product_id, l.quantity FROM reservation_lines l "
    "JOIN reservations r ON r.id = l.reservation_id WHERE r.status = 'deducted'"
)
HELD = (
    "SELECT l.product_id, SUM(l.quantity) FROM reservation_lines l JOIN reservations r ON r.id = l.reservation_id "
    "WHERE r.status = 'reserved' GROUP BY l.product_id"
)
ORDERED = (
    "SELECT i.order_id, i.product_id, i.quantity FROM order_items i JOIN orders o ON o.id = i.order_id "
    "WHERE o.status = 'completed'"
)
COMPLETED = "SELECT order_id FROM order_events WHERE event_type = 'order_completed'"
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
            ("messages kept", "SELECT COUNT(*) FROM kept_messages WHERE state IN ('retrying', 'parked')"),
        ):
            if count := disk.rows(query)[0][0]:
                left.append(f"{service}: {count} {what}")
    return left


def dead(disks: Disks) -> list[str]:
    """Dead letters that somebody has still to see to."""
    return list(_of_dead_letters(disks))


def judge(disks: Disks, journal: Journal, post: Post, trace: Trace) -> list[str]:
    """Every breach of every law, in an order that is always the same."""
    orders = {row[0]: row for row in disks["order"].rows("SELECT id, status, customer_id, total_amount FROM orders")}
    status = {id_: row[1] for id_, row in orders.items()}
    customers = {id_: row[2] for id_, row in orders.items()}
    return [
        *sorted(_of_orders(disks, journal, status, customers)),
        *sorted(_of_money(disks, status)),
        *sorted(_of_stock(disks, status)),
        *sorted(_of_levels(disks, trace)),
        *sorted(_of_shipping(disks, status)),
        *sorted(_of_dead_letters(disks)),
        *sorted(_of_news(disks, post, status)),
        *sorted(promises.judge(disks, journal, status)),
        *sorted(
            f"handled once: {service} handled {what} {n} times" for (service, what), n in trace.handled.items() if n > 1
        ),
        *sorted(f"in line: {what}" for what in trace.overtaken),
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
    by_staff: dict[str, int] = dict(disks["payment"].rows(WANTED_BACK))
    known = set()
    for payment, order_id, amount, captured, promised, refunded in disks["payment"].rows(PAYMENTS):
        known.add(payment)
        if captured != charged.get(payment, 0):
            yield f"money: {payment} captured {captured} in our books, {charged.get(payment, 0)} in the provider's"
        if not refunded == promised == returned.get(payment, 0):
            yield f"money: {payment} gave back {refunded} of {promised}, the provider {returned.get(payment, 0)}"
        kept, end = captured - refunded, status.get(order_id)
        due = amount - by_staff.get(payment, 0) if end == "completed" else 0
        if kept != due:
            yield f"money: order {order_id} is {end} and {kept} are kept instead of {due}"
        if end == "completed" and _minor(totals[order_id]) != amount:
            yield f"money: order {order_id} costs {totals[order_id]}, its payment says {amount}"
    for key in sorted(set(charged) - known):
        yield f"money: the provider took {charged[key]} under {key}, which is no payment of ours"
    for order_id, end in status.items():
        if end == "completed" and not disks["payment"].rows("SELECT 1 FROM payments WHERE order_id = ?", order_id):
            yield f"money: order {order_id} is completed and has no payment"


def _of_stock(disks: Disks, status: Mapping[str, str]) -> Iterator[str]:
    """Nothing appears, nothing disappears, nothing stays set aside for nobody."""
    inventory = disks["inventory"]
    held: dict[str, int] = dict(inventory.rows(HELD))
    deducted = by_order(inventory.rows(DEDUCTED))
    for product, on_hand, reserved, received, sold, back in inventory.rows(LEVELS):
        if on_hand < 0:
            yield f"stock: {-on_hand} {product} were sold that are not there"
        if on_hand != received - sold + back:
            yield f"stock: {on_hand} {product} on hand, received {received}, sold {sold}, back {back}"
        if reserved != held.get(product, 0) or reserved:
            yield f"stock: {reserved} {product} set aside, reservations of {held.get(product, 0)} live"
        gone = sum(lines[product] for lines in deducted.values())
        if sold - back != gone:
            yield f"stock: {sold - back} {product} have left, reservations know of {gone}"
    ordered = by_order(disks["order"].rows(ORDERED))
    for order_id in sorted(set(ordered) | set(deducted)):
        if ordered.get(order_id) != deducted.get(order_id):
            yield (
                f"goods: order {order_id} is {status.get(order_id)} with {dict(ordered.get(order_id, {}))}, "
                f"{dict(deducted.get(order_id, {}))} left the stock"
            )


def _of_levels(disks: Disks, trace: Trace) -> Iterator[str]:
    """The catalog shows what is there."""
    if trace.reached["fault: clock jump"]:
        # The newest level is the one with the latest time: known to show an old one after a clock was set back.
        return
    shown = dict(disks["catalog"].rows("SELECT id, quantity FROM products"))
    for product, on_hand, reserved, *_ in disks["inventory"].rows(LEVELS):
        if shown.get(product) != on_hand - reserved:
            yield f"catalog: it shows {shown.get(product)} {product}, {on_hand - reserved} are there"


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


def _of_handling(trace: Trace) -> Iterator[str]:
    """Each service handled each message once, and met no error that only a fault of ours could explain."""
    for (service, message), count in trace.handled.items():
        if count > 1:
            yield f"handled once: {service} handled {message} {count} times"
    for state in trace.reached:
        if state.startswith("alarm: "):
            yield f"errors: {state.removeprefix('alarm: ')}"


def _of_dead_letters(disks: Disks) -> Iterator[str]:
    """There are none."""
    for service, disk in disks.items():
        if service != "sandbox":
            for topic, error in disk.rows("SELECT topic, error FROM kept_messages WHERE state = 'dead'"):
                yield f"dead letter: {service} could not handle {topic}: {error}"


def _of_news(disks: Disks, post: Post, status: Mapping[str, str]) -> Iterator[str]:
    """Each order is confirmed once if it was completed, nothing is told twice, and the mail has left."""
    notices = disks["notification"].rows("SELECT id, order_id, type, status FROM notifications")
    kinds = Counter((row[1], row[2]) for row in notices if row[2] != "refund_issued")
    for (order_id, kind), count in kinds.items():
        if count > 1:
            yield f"told once: order {order_id} was told {kind} {count} times"
    completed = {row[0] for row in disks["order"].rows(COMPLETED)}
    cancelled = {order_id for order_id, end in status.items() if end == "cancelled"}
    # A cart that could never become an order is cancelled without a word; nothing of it was announced.
    silent = {row[0] for row in disks["order"].rows("SELECT id FROM orders WHERE cancel_reason = 'unknown_product'")}
    for kind, happened in (("order_confirmation", completed), ("order_cancelled", cancelled - silent)):
        told = {row[1] for row in notices if row[2] == kind}
        for order_id in told ^ happened:
            yield f"told once: order {order_id} is {status.get(order_id)}, {kind} was told: {order_id in told}"
    sent = {id_ for id_, _ in post.taken}
    for id_, order_id, kind, state in notices:
        if state == "sent" and id_ not in sent:
            yield f"mail: {kind} of {order_id} counts as sent and never was"


def _minor(amount: Any) -> int:
    return int(Decimal(str(amount)) * 100)
