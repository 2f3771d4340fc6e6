"""What clients were told is true when everything has come to rest: an answer that was given is a promise."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.simulation.disk import Disk
from tests.simulation.people import Journal

ENDS: Mapping[str, str] = {
    "cancelled": "cancelled",
    "no stock": "cancelled",
    "declined": "cancelled",
    "shipped": "completed",
    "left": "completed",
}
"""Some answers say how an order ends."""


def judge(disks: Mapping[str, Disk], journal: Journal, status: Mapping[str, str]) -> Iterator[str]:
    """Every promise that was broken."""
    for told in journal.told:
        end = status.get(told.order_id)
        if end is None:
            yield f"promise: {told.what} was said of order {told.order_id}, which does not exist"
        elif ENDS.get(told.what, end) != end:
            yield f"promise: {told.what} was said of order {told.order_id}, which is {end}"
        elif told.what == "seen" and told.detail == "cancelled" != end:
            yield f"promise: order {told.order_id} was seen cancelled and is {end}"
    yield from _of_money(disks, journal)
    yield from _of_goods(disks, journal)


def _of_money(disks: Mapping[str, Disk], journal: Journal) -> Iterator[str]:
    captured = dict(disks["payment"].rows("SELECT order_id, captured_minor FROM payments"))
    refunds: dict[tuple[str, str], set[str]] = {}
    for told in journal.told:
        if told.what == "paid" and not captured.get(told.order_id):
            yield f"promise: order {told.order_id} was said to be paid"
        elif told.what == "refunded":
            key, refund = told.detail
            refunds.setdefault((told.order_id, key), set()).add(refund)
    for (order_id, key), ids in refunds.items():
        if len(ids) > 1:
            yield f"promise: {key} of order {order_id} was refunded {len(ids)} times"


def _of_goods(disks: Mapping[str, Disk], journal: Journal) -> Iterator[str]:
    lines = by_order(disks["order"].rows("SELECT order_id, product_id, quantity FROM order_items"))
    changes = {told.order_id: told.detail for told in journal.told if told.what == "changed"}
    for order_id, wanted in changes.items():
        goods = by_order([(order_id, product, quantity) for product, quantity in wanted])[order_id]
        if lines.get(order_id) != goods:
            yield f"promise: order {order_id} was said to have other goods: {dict(goods)}"


def by_order(rows: Sequence[tuple[Any, ...]]) -> dict[str, Counter[str]]:
    """Quantities by order and product."""
    found: dict[str, Counter[str]] = {}
    for order_id, product, quantity in rows:
        found.setdefault(order_id, Counter())[product] += quantity
    return found
