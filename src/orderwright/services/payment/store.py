"""The payment service's SQL. Money moves by conditional statements; payments are loaded locked and written together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import insert_new, insert_updating, one_of
from orderwright.services.payment.domain import Method, Payment, PaymentStatus
from orderwright.services.payment.tables import payment_methods, payments, refunds, webhook_events

CHANGING = tuple(column.name for column in payments.c if column.name not in {"id", "order_id", "created_at"})


@dataclass(frozen=True, slots=True)
class Refund:
    """Money to give back, or given back."""

    id: str
    payment_id: str
    amount_minor: int
    status: str
    reason: str | None
    attempts: int
    created_at: datetime


def by_order(connection: sa.Connection, order_ids: Iterable[str], *, lock: bool = False) -> dict[str, Payment]:
    """The payments of these orders."""
    query = sa.select(payments).where(one_of(payments.c.order_id, sorted(set(order_ids)))).order_by(payments.c.id)
    rows = connection.execute(query.with_for_update() if lock else query)
    return {row.order_id: _payment(row) for row in rows}


def by_order_or_new(
    connection: sa.Connection, order_ids: Iterable[str], new: Callable[[str], Payment]
) -> dict[str, Payment]:
    """The payments of these orders, locked; `new` makes those that are not there yet.

    What is not there cannot be locked. So it is made at once, and whoever comes second waits and finds it.
    """
    wanted = sorted(set(order_ids))
    found = by_order(connection, wanted, lock=True)
    made = {order_id: new(order_id) for order_id in wanted if order_id not in found}
    added = insert_new(connection, payments, [_row(payment) for payment in made.values()], ["order_id"])
    found |= {row.order_id: made.pop(row.order_id) for row in added}
    return found | by_order(connection, made, lock=True) if made else found


def by_id(connection: sa.Connection, ids: Iterable[str], *, lock: bool = False) -> dict[str, Payment]:
    """These payments."""
    query = sa.select(payments).where(one_of(payments.c.id, sorted(set(ids)))).order_by(payments.c.id)
    rows = connection.execute(query.with_for_update() if lock else query)
    return {row.id: _payment(row) for row in rows}


def save(connection: sa.Connection, changed: Sequence[Payment]) -> None:
    """Write payments, new or locked by the caller, as they stand now."""
    insert_updating(connection, payments, [_row(payment) for payment in changed], ["order_id"], CHANGING)


def claim_due_charges(connection: sa.Connection, now: datetime, *, limit: int, lease: timedelta) -> list[Payment]:
    """Charges whose outcome is due to be found out, as they were before; nobody else takes them meanwhile."""
    due = (
        sa.select(payments)
        .where(payments.c.status == PaymentStatus.CHARGING.value, payments.c.next_attempt_at <= now)
        .order_by(payments.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    claimed = [_payment(row) for row in connection.execute(due)]
    if claimed:
        connection.execute(
            sa.update(payments)
            .where(one_of(payments.c.id, [payment.id for payment in claimed]))
            .values(attempts=payments.c.attempts + 1, next_attempt_at=now + lease)
        )
    return claimed


def release(connection: sa.Connection, now: datetime) -> None:
    """Nobody is asking the provider anything: right when this process is the only one that could, at its start."""
    charging = payments.c.status == PaymentStatus.CHARGING.value
    connection.execute(sa.update(payments).where(charging).values(next_attempt_at=now))
    connection.execute(sa.update(refunds).where(refunds.c.status == "pending").values(next_attempt_at=now))


def try_again_at(connection: sa.Connection, payment_id: str, at: datetime) -> bool:
    """Ask the provider again then; answers whether the charge is still undecided."""
    statement = sa.update(payments).where(
        payments.c.id == payment_id, payments.c.status == PaymentStatus.CHARGING.value
    )
    return connection.execute(statement.values(next_attempt_at=at)).rowcount == 1


def promise_refund(connection: sa.Connection, payment_id: str, amount_minor: int, now: datetime) -> bool:
    """Set so much aside for a refund; answers whether so much is left. The statement decides, whoever else refunds."""
    statement = (
        sa.update(payments)
        .where(
            payments.c.id == payment_id,
            payments.c.status == PaymentStatus.SUCCESS.value,
            payments.c.promised_minor + amount_minor <= payments.c.captured_minor,
        )
        .values(promised_minor=payments.c.promised_minor + amount_minor, updated_at=now)
    )
    return connection.execute(statement).rowcount == 1


def insert_refund(
    connection: sa.Connection,
    refund_id: str,
    payment_id: str,
    amount_minor: int,
    now: datetime,
    *,
    reason: str | None,
    requested_by: str | None,
) -> None:
    """Money that has to go back; the id is the key under which the provider is asked."""
    connection.execute(
        sa.insert(refunds).values(
            id=refund_id,
            payment_id=payment_id,
            amount_minor=amount_minor,
            status="pending",
            reason=reason,
            requested_by=requested_by,
            attempts=0,
            next_attempt_at=now,
            created_at=now,
            updated_at=now,
        )
    )


def claim_due_refunds(connection: sa.Connection, now: datetime, *, limit: int, lease: timedelta) -> list[Refund]:
    """Refunds that are due; nobody else takes them meanwhile."""
    due = (
        sa.select(refunds)
        .where(refunds.c.status == "pending", refunds.c.next_attempt_at <= now)
        .order_by(refunds.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    claimed = [_refund(row) for row in connection.execute(due)]
    if claimed:
        connection.execute(
            sa.update(refunds)
            .where(one_of(refunds.c.id, [refund.id for refund in claimed]))
            .values(attempts=refunds.c.attempts + 1, next_attempt_at=now + lease)
        )
    return claimed


def finish_refund(connection: sa.Connection, refund: Refund, now: datetime) -> bool:
    """The provider has given the money back; answers whether that was news."""
    done = connection.execute(
        sa.update(refunds)
        .where(refunds.c.id == refund.id, refunds.c.status == "pending")
        .values(status="done", next_attempt_at=None, updated_at=now)
    )
    if done.rowcount == 0:
        return False
    connection.execute(
        sa.update(payments)
        .where(payments.c.id == refund.payment_id)
        .values(refunded_minor=payments.c.refunded_minor + refund.amount_minor, updated_at=now)
    )
    return True


def postpone_refund(connection: sa.Connection, refund_id: str, at: datetime) -> None:
    """Ask the provider again then."""
    connection.execute(sa.update(refunds).where(refunds.c.id == refund_id).values(next_attempt_at=at))


def refunds_of(connection: sa.Connection, payment_id: str) -> list[Refund]:
    """A payment's refunds, the oldest first."""
    query = sa.select(refunds).where(refunds.c.payment_id == payment_id).order_by(refunds.c.id)
    return [_refund(row) for row in connection.execute(query)]


def save_methods(connection: sa.Connection, methods: Sequence[Method], now: datetime) -> None:
    """How these orders are to be paid; the last word counts."""
    rows = {method.order_id: {**asdict(method), "created_at": now} for method in methods}
    changes = ("customer_id", "token", "brand", "last4", "created_at")
    insert_updating(connection, payment_methods, list(rows.values()), ["order_id"], changes)


def methods_for(connection: sa.Connection, order_ids: Iterable[str]) -> dict[str, Method]:
    """How these orders are to be paid, where that was said."""
    query = sa.select(payment_methods).where(one_of(payment_methods.c.order_id, sorted(set(order_ids))))
    return {
        row.order_id: Method(row.order_id, row.customer_id, row.token, row.brand, row.last4)
        for row in connection.execute(query)
    }


def forget_methods(connection: sa.Connection, before: datetime, *, limit: int = 1000) -> int:
    """Remove up to `limit` methods that were named before then; whatever order they were for has ended."""
    old = sa.select(payment_methods.c.order_id).where(payment_methods.c.created_at < before).limit(limit)
    return connection.execute(sa.delete(payment_methods).where(payment_methods.c.order_id.in_(old))).rowcount


def note_webhook(
    connection: sa.Connection, provider: str, event_id: str, charge_key: str, now: datetime, *, known: bool
) -> bool:
    """Keep that an event was received; answers whether it is the first time."""
    row = {
        "provider": provider,
        "event_id": event_id,
        "charge_key": charge_key,
        "known": known,
        "received_at": now,
    }
    return bool(insert_new(connection, webhook_events, [row], ["event_id"]))


def _row(payment: Payment) -> dict[str, Any]:
    # `dataclasses.asdict` copies deeply, which was a seventh of the work of a busy payment service.
    return {column.name: getattr(payment, column.name) for column in payments.c} | {"status": payment.status.value}


def _payment(row: Any) -> Payment:
    members = dict(row._mapping)
    return Payment(**{**members, "status": PaymentStatus(members["status"])})


def _refund(row: Any) -> Refund:
    return Refund(row.id, row.payment_id, row.amount_minor, row.status, row.reason, row.attempts, row.created_at)
