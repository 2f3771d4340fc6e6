"""Judges over an installation's books when all is over: what customers were told, and what every database says.

Nothing is asked of the services: their databases are read, and the books of the sandbox, which takes the money.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa

from orderwright.audit.auditor import Auditor
from orderwright.audit.settings import AuditSettings
from orderwright.contracts import audience
from orderwright.kernel.broker import Broker
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.database import Database, open_database
from tests.e2e.customers import DECLINED, Told

HEARERS = ("order", "payment", "inventory", "shipping", "notification", "catalog", "cart")
UNDER_WAY: Mapping[str, Sequence[str]] = {
    "order": ("SELECT COUNT(*) FROM order_sagas WHERE status IN ('running', 'compensating')",),
    "payment": ("SELECT COUNT(*) FROM refunds WHERE status = 'pending'",),
}
"""What counts the things that have not come to their end, beside events that wait to be sent."""
TROUBLE = re.compile(rb"Traceback|never retrieved|never awaited|ResourceWarning|unforeseen_error|loop_failed|segfault")
"""What a log shows when something happened that nobody thought of; that a neighbour is away is a line of its own."""


class Ledgers:
    """Every database of the installation, opened to be read."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._databases: dict[str, Database] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for name in (*HEARERS, "sandbox"):
            self._databases[name] = open_database(f"{self.url}?connections=1", name)
            self._stack.push_async_callback(self._databases[name].close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def rows(self, service: str, query: str) -> list[tuple[Any, ...]]:
        """What a query finds in that service's database; ids as text, as the services tell them to each other."""

        def read(connection: sa.Connection) -> list[tuple[Any, ...]]:
            found = connection.exec_driver_sql(query)
            return [tuple(str(value) if isinstance(value, UUID) else value for value in row) for row in found]

        return await self._databases[service].read(read)

    async def under_way(self) -> dict[str, int]:
        """What has not come to its end, by where it is."""
        counts: dict[str, int] = {}
        for service in HEARERS:
            queries = ("SELECT COUNT(*) FROM outbox", "SELECT COUNT(*) FROM kept_messages WHERE state <> 'dead'")
            for query in (*UNDER_WAY.get(service, ()), *queries):
                [(count,)] = await self.rows(service, query)
                if count:
                    counts[f"{service}: {query.partition(' FROM ')[2]}"] = count
        completed = "SELECT COUNT(*) FROM orders WHERE status = 'completed'"
        confirmed = "SELECT COUNT(*) FROM notifications WHERE type = 'order_confirmation'"
        [(orders,)], [(told,)] = await self.rows("order", completed), await self.rows("notification", confirmed)
        if told < orders:
            counts["notification: confirmations to come"] = orders - told
        return counts

    async def until_all_ended(self, broker_url: str, deadline_s: float) -> None:
        """Wait until nothing is under way, in the books or at the broker; fails, naming what still is.

        What a killed process had taken and not acknowledged is handed to another one when its time is over.
        """
        left: dict[str, int] = {}
        try:
            async with asyncio.timeout(deadline_s), open_broker(broker_url) as broker:
                while left := await self.under_way() | await _unheard(broker):
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"After {deadline_s:g} s these have not come to their end: {left}") from None


async def _unheard(broker: Broker) -> dict[str, int]:
    backlogs = await broker.backlog(audience())
    return {f"{service}: messages to hear": left.count for service, left in backlogs.items() if left.count}


async def judge_orders(ledgers: Ledgers, journal: Sequence[Told]) -> None:
    """Nothing lost, nothing doubled, and everything came out as customers were told."""
    found = await ledgers.rows("order", "SELECT id, status, cancel_reason, total_amount::text FROM orders")
    orders = {id_: (status, reason, total) for id_, status, reason, total in found}
    keys = "SELECT key, result #>> '{}' FROM idempotency_keys WHERE key LIKE 'order-%%'"
    placed = dict(await ledgers.rows("order", keys))
    assert len({told.key for told in journal}) == len(journal) == len(orders), "one order for each key, and no other"
    for told in journal:
        assert told.order_ids == {placed[told.key]}, f"{told} was told of other orders than {placed[told.key]}"
        [order_id] = told.order_ids
        assert order_id in orders, f"{told} was accepted and is lost"
        status, reason, total = orders[order_id]
        assert told.total in {None, total}, f"{told} costs {total}"
        assert (status, reason) in _ends(told), f"{told} ended as {status} because of {reason}"


def _ends(told: Told) -> set[tuple[str, str | None]]:
    if told.refused:
        return {("cancelled", "insufficient_inventory")}
    # Who was answered 202 may still hear that the goods are not there, or the card no good, before a change of mind.
    ends: set[tuple[str, str | None]] = {("cancelled", "insufficient_inventory")}
    if told.card == DECLINED:
        ends.add(("cancelled", "payment_failed"))
    if told.cancelled:
        ends.add(("cancelled", "customer_request"))
    elif told.card != DECLINED:
        ends.add(("completed", None))
    return ends


async def judge_money(ledgers: Ledgers) -> None:
    """Our payments and the sandbox's charges are the same, and money is kept for completed orders only."""
    orders = dict(await ledgers.rows("order", "SELECT id, status FROM orders"))
    ours = await ledgers.rows("payment", "SELECT id, order_id, captured_minor, refunded_minor FROM payments")
    taken = dict(await ledgers.rows("sandbox", "SELECT key, amount_minor FROM charges WHERE outcome = 'captured'"))
    given = await ledgers.rows("sandbox", "SELECT charge_key, SUM(amount_minor)::bigint FROM refunds GROUP BY 1")
    back = dict(given)
    assert {payment for payment, _, captured, _ in ours if captured} == set(taken)
    for payment, order_id, captured, refunded in ours:
        assert captured == taken.get(payment, 0), f"our books and the provider's differ for {payment}"
        assert refunded == back.get(payment, 0), f"our books and the provider's differ for {payment}"
        keeps, completed = captured > refunded, orders[order_id] == "completed"
        assert keeps == completed, f"order {order_id} is {orders[order_id]}, {captured - refunded} are kept"


async def judge_by_auditor(url: str) -> None:
    """The product's own auditor, who looks at all of it without mercy for what is young, finds nothing."""
    settings = AuditSettings(grace_s=0, settle_s=0.5)
    report = await Auditor(url, settings, SystemClock(), provider="sandbox").run()
    assert report.clean, report.document()


async def judge_messages(ledgers: Ledgers) -> None:
    """No message was given up, and none is being tried again."""
    for service in HEARERS:
        kept = await ledgers.rows(service, "SELECT state, topic, error FROM kept_messages")
        assert kept == [], f"{service} keeps {kept}"


def judge_logs(folder: Path) -> None:
    """No process met something that it had not been written for."""
    met = {log.name: TROUBLE.findall(log.read_bytes()) for log in sorted(folder.glob("*.log"))}
    troubled = {name: len(found) for name, found in met.items() if found}
    assert not troubled, f"unforeseen things stand in these logs under {folder}: {troubled}"
