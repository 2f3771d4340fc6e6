"""The judges: the auditor on the services' books, and the customers' journal against them.

Invariant: a verdict names the promise, the order or key, and what is so instead.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chaos.books import rows, still_open
from chaos.customers import Customer
from chaos.journal import Journal, Said
from orderwright.audit.auditor import Auditor
from orderwright.audit.books import SANDBOX
from orderwright.audit.findings import Report
from orderwright.audit.settings import AuditSettings
from orderwright.kernel.clock import SystemClock

ACCEPTED: Final = frozenset({201, 202})
ENDS: Final = frozenset({"completed", "cancelled"})
AGAIN_AT_MOST: Final = 1000
"""So many requests are sent once more; of more, every so many-th."""
AT_ONCE: Final = 8
ASK_S: Final = 30.0


@dataclass
class Verdict:
    """What the judges found."""

    broken: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    """Orders by their end, with the reason of a cancellation."""
    audited: dict[str, int] = field(default_factory=dict)
    """What the auditor looked at."""
    asked_again: int = 0
    rest_s: float = 0.0
    """How long it took to come to rest."""


async def until_at_rest(url: str, timeout_s: float) -> tuple[float, dict[str, int], Report]:
    """Wait until nothing is under way and the books agree; answers how long, what still is, and the last audit."""
    began_s = time.monotonic()
    settings = AuditSettings(grace_s=3, settle_s=3, overdue_s=60)
    while True:
        left = await still_open(url)
        late = time.monotonic() - began_s > timeout_s
        if not left or late:
            took_s = time.monotonic() - began_s
            report = await Auditor(url, settings, SystemClock(), provider=SANDBOX).run()
            if late or (report.clean and not report.under_way):
                return took_s, left, report
        await asyncio.sleep(1)


async def judge(url: str, journal: Journal, customers: Sequence[Customer], rest_timeout_s: float) -> Verdict:
    """Wait for rest, then hold everything that was said to what is so."""
    verdict = Verdict()
    verdict.rest_s, left, report = await until_at_rest(url, rest_timeout_s)
    broken = verdict.broken
    broken += [f"not at rest after {rest_timeout_s:.0f} s: {count} {what}" for what, count in left.items()]
    broken += [f"auditor: {f.kind}: {f.subject}: {f.detail}" for f in report.findings]
    broken += [f"never answered: {what} ({key})" for key, what in journal.unanswered.items()]
    broken += journal.strange
    verdict.audited = dict(report.looked_at)
    await _orders(url, journal, verdict)
    await _payments(url, journal, verdict)
    await _asked_again(journal, customers, verdict)
    return verdict


async def _orders(url: str, journal: Journal, verdict: Verdict) -> None:
    found = await rows(url, "order", "SELECT id, customer_id, status, cancel_reason FROM orders")
    orders = {str(row["id"]): row for row in found}
    verdict.ends.update(f"{row['status']} {row['cancel_reason'] or ''}".strip() for row in found)
    broken = verdict.broken
    broken += [
        f"order {id_} has not ended: {row['status']}" for id_, row in orders.items() if row["status"] not in ENDS
    ]
    keys_of: dict[str, set[str]] = defaultdict(set)
    for said in journal.of("order"):
        if said.order_id is None:
            broken.append(f"{said.key} of {said.customer} was answered {said.status} {said.problem} with no order")
            continue
        keys_of[said.order_id].add(f"{said.customer} {said.key}")
        broken += order_as_told(said, orders.get(said.order_id))
    broken += [f"order {id_} is the answer to {keys}" for id_, keys in keys_of.items() if len(keys) > 1]
    ours = {customer for said in journal.said if (customer := said.customer)}
    strays = [id_ for id_, row in orders.items() if row["customer_id"] in ours and id_ not in keys_of]
    if not journal.unanswered:
        broken += [f"order {id_} is no answer to any key: one request placed two orders" for id_ in strays]
    for said in journal.of("cancel"):
        status = orders[said.key]["status"] if said.key in orders else "not there"
        if said.status != 200 or status != "cancelled":
            broken.append(f"cancelling order {said.key} was answered {said.status} {said.problem}, and it is {status}")


def order_as_told(said: Said, row: Mapping[str, Any] | None) -> list[str]:
    """What is so otherwise than an order's customer was told; `row` is the order's, or None."""
    if row is None:
        return [f"order {said.order_id} was answered {said.status} to {said.key} and does not exist"]
    status, reason = row["status"], row["cancel_reason"]
    refused = status == "cancelled" and reason == "insufficient_inventory"
    if said.status not in ACCEPTED and not refused:
        return [f"order {said.order_id} was refused ({said.status} {said.problem}), and it is {status} {reason or ''}"]
    if said.status == 201 and refused:
        return [f"order {said.order_id} was answered 201, and then refused: {reason}"]
    return []


async def _payments(url: str, journal: Journal, verdict: Verdict) -> None:
    found = await rows(url, "payment", "SELECT id, status, captured_minor FROM payments")
    payments = {str(row["id"]): row for row in found}
    for said in journal.of("pay"):
        if said.status == 409 and said.problem == "order-not-payable":
            continue
        row = payments.get(said.answered_id or "")
        taken = None if row is None else row["captured_minor"]
        right = (said.status == 201 and taken) or (said.status == 400 and taken == 0) or (said.status == 202 and row)
        if not right:
            verdict.broken.append(
                f"paying for order {said.order_id} was answered {said.status} {said.problem}, and taken was {taken}"
            )


async def _asked_again(journal: Journal, customers: Sequence[Customer], verdict: Verdict) -> None:
    """The same key with the same body once more: the same order, or the same refusal."""
    by_id = {customer.id: customer for customer in customers}
    asked = [said for said in journal.said if said.did in {"order", "pay"}]
    step = len(asked) // AGAIN_AT_MOST + 1
    queue = iter(asked[::step])

    async def ask() -> None:
        for said in queue:
            verdict.asked_again += 1
            verdict.broken.extend(await _again(by_id[said.customer], said))

    async with asyncio.TaskGroup() as askers:
        for _ in range(AT_ONCE):
            askers.create_task(ask())


async def _again(customer: Customer, said: Said) -> list[str]:
    path = "/orders" if said.did == "order" else "/payments"
    deadline_s = time.monotonic() + ASK_S
    while True:
        status, found = await customer.ask_once(path, said.key, said.body)
        if status is not None:
            break
        if time.monotonic() > deadline_s:
            return [f"{said.key} of {said.customer} was not answered within {ASK_S:.0f} s, with nothing failing"]
        await asyncio.sleep(0.2)
    about = found.get("id") or found.get("order_id")
    told = said.answered_id or said.order_id
    same_side = (status in ACCEPTED) == (said.status in ACCEPTED)
    # A refusal without an order or a payment names neither; then its status speaks for it.
    if same_side and (about == told or (said.status == status == 409)):
        return []
    return [f"{said.did} {said.key} was answered {said.status} {told}, and when it was sent again {status} {about}"]
