"""Payments: found, locked, written, and claimed when their provider has to be asked.

Invariants: a payment is changed only by whoever holds its row, so nothing that is written here was decided on an old
view of it. `sent_at` is set before the provider is called, and stays until it is certain that nothing came of the call.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from msgspec.structs import asdict

from orderwright.kernel import rows
from orderwright.kernel.rows import among, due, one_of
from orderwright.services.payment.domain import UNDECIDED, Payment, PaymentStatus
from orderwright.services.payment.store import lateness
from orderwright.services.payment.tables import payment_methods, payments

_UNDECIDED = one_of(payments.c.status, [status.value for status in UNDECIDED])

_BY_ORDERS = sa.select(payments).where(among(payments.c.order_id, "ids")).order_by(payments.c.id)
_BY_ORDERS_LOCKED = _BY_ORDERS.with_for_update()
_BY_IDS = sa.select(payments).where(among(payments.c.id, "ids")).order_by(payments.c.id)
_BY_IDS_LOCKED = _BY_IDS.with_for_update()
_DUE = due(sa.select(payments).where(_UNDECIDED), payments.c.next_attempt_at)
_CLAIM = (
    sa.update(payments)
    .where(among(payments.c.id, "ids"))
    .values(
        attempts=payments.c.attempts + 1,
        next_attempt_at=sa.bindparam("until"),
        # For a cancelled order the provider is only asked; for any other it may be given the charge once more.
        sent_at=sa.case(
            (sa.and_(payments.c.order_cancelled, payments.c.sent_at.is_not(None)), payments.c.sent_at),
            else_=sa.bindparam("now", type_=payments.c.sent_at.type),
        ),
        status=sa.case((payments.c.sent_at.is_(None), PaymentStatus.CHARGING.value), else_=PaymentStatus.UNKNOWN.value),
    )
)
_CHARGEABLE = (
    sa.select(payments.c.order_id)
    .join(payment_methods, payment_methods.c.order_id == payments.c.order_id)
    .where(
        payments.c.status == PaymentStatus.PENDING.value,
        payment_methods.c.customer_id == payments.c.customer_id,
        sa.or_(payments.c.stock_reserved, sa.not_(payments.c.needs_stock)),
        sa.not_(payments.c.order_cancelled),
        payments.c.held_by.is_(None),
    )
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def by_order(connection: sa.Connection, order_ids: Iterable[str], *, lock: bool = False) -> dict[str, Payment]:
    """The payments of these orders."""
    found = connection.execute(_BY_ORDERS_LOCKED if lock else _BY_ORDERS, {"ids": sorted(set(order_ids))})
    return {row.order_id: _payment(row) for row in found}


def by_id(connection: sa.Connection, ids: Iterable[str], *, lock: bool = False) -> dict[str, Payment]:
    """These payments."""
    found = connection.execute(_BY_IDS_LOCKED if lock else _BY_IDS, {"ids": sorted(set(ids))})
    return {row.id: _payment(row) for row in found}


def locked(connection: sa.Connection, blank: Mapping[str, Payment]) -> dict[str, Payment]:
    """The payments of the orders that `blank` names, locked; those that do not exist yet begin as it says.

    Two who hear of an order for the first time at once both find nothing; the row that one of them adds is what the
    other one waits for, and then finds.
    """
    found = by_order(connection, blank, lock=True)
    missing = [blank[order_id] for order_id in sorted(blank) if order_id not in found]
    if not missing:
        return found
    added = {row.order_id for row in rows.insert_new(connection, payments, _rows(missing), ("order_id",))}
    found |= {payment.order_id: payment for payment in missing if payment.order_id in added}
    theirs = [payment.order_id for payment in missing if payment.order_id not in added]
    return found | by_order(connection, theirs, lock=True) if theirs else found


def save(connection: sa.Connection, changed: Sequence[Payment]) -> None:
    """Write payments that the caller has locked, as they stand now."""
    rows.update(connection, payments, _rows(changed), ["id"])


def listed(connection: sa.Connection, *, status: PaymentStatus | None, before: str | None, limit: int) -> list[Payment]:
    """Payments, the newest first, before that id."""
    query = sa.select(payments).where(payments.c.status != PaymentStatus.EXPECTED.value)
    if status is not None:
        query = query.where(payments.c.status == status.value)
    if before is not None:
        query = query.where(payments.c.id < before)
    return [_payment(row) for row in connection.execute(query.order_by(payments.c.id.desc()).limit(limit))]


def waiting(connection: sa.Connection, before: datetime, *, limit: int) -> list[Payment]:
    """Payments that are unknown or quarantined, or undecided since before then, the oldest first."""
    stuck = one_of(payments.c.status, [PaymentStatus.UNKNOWN.value, PaymentStatus.QUARANTINED.value])
    late = sa.and_(_UNDECIDED, payments.c.undecided_since < before)
    query = sa.select(payments).where(sa.or_(stuck, late)).order_by(payments.c.undecided_since, payments.c.id)
    return [_payment(row) for row in connection.execute(query.limit(limit))]


def claim_due(connection: sa.Connection, now: datetime, *, limit: int, lease: timedelta) -> list[Payment]:
    """Charges whose outcome is due to be found out; nobody else takes them meanwhile.

    What was sent and has no outcome when its lease is over is unknown from now on. Each is answered with `sent` as it
    was before: whether the provider may have heard of it already.
    """
    claimed = [_payment(row) for row in connection.execute(_DUE, {"now": now, "most": limit})]
    if not claimed:
        return []
    values = {"ids": [payment.id for payment in claimed], "now": now, "until": now + lease}
    rows.later(connection, payments, _CLAIM, values)
    return claimed


def release(connection: sa.Connection, now: datetime) -> None:
    """Nobody is asking the provider anything: right when this process is the only one that could, at its start."""
    connection.execute(sa.update(payments).where(_UNDECIDED).values(next_attempt_at=now))


def not_sent(connection: sa.Connection, payment_id: str, at: datetime) -> None:
    """Nothing came of the call that was under way; try again then. An outcome that was unknown before stays so."""
    mine = payments.c.id == payment_id
    connection.execute(sa.update(payments).where(mine, _UNDECIDED).values(next_attempt_at=at))
    charging = payments.c.status == PaymentStatus.CHARGING.value
    connection.execute(sa.update(payments).where(mine, charging).values(sent_at=None))


def unknown(connection: sa.Connection, payment_id: str, at: datetime) -> None:
    """A call ended without an answer: the outcome is unknown until the provider tells it; ask it then."""
    statement = sa.update(payments).where(payments.c.id == payment_id, _UNDECIDED)
    connection.execute(statement.values(status=PaymentStatus.UNKNOWN.value, next_attempt_at=at))


def ask_at(connection: sa.Connection, payment_id: str, at: datetime) -> bool:
    """Ask the provider then; answers whether it owes an answer that is not on its way already."""
    idle = sa.or_(payments.c.status == PaymentStatus.UNKNOWN.value, payments.c.sent_at.is_(None))
    statement = sa.update(payments).where(payments.c.id == payment_id, _UNDECIDED, idle)
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


def add_refunded(connection: sa.Connection, payment_id: str, amount_minor: int, now: datetime) -> None:
    """So much more went back."""
    statement = sa.update(payments).where(payments.c.id == payment_id)
    connection.execute(statement.values(refunded_minor=payments.c.refunded_minor + amount_minor, updated_at=now))


def take_overdue(connection: sa.Connection, before: datetime, now: datetime, *, limit: int = 100) -> list[Payment]:
    """Charges without an outcome since before then, each one once."""
    late = sa.and_(_UNDECIDED, payments.c.undecided_since < before)
    return [_payment(row) for row in lateness.take_overdue(connection, payments, late, now, limit=limit)]


def count_waiting(connection: sa.Connection, before: datetime) -> dict[tuple[str, bool], int]:
    """How many charges are unknown or quarantined, and how many of them since before then: by state and age."""
    these = one_of(payments.c.status, [status.value for status in (*UNDECIDED, PaymentStatus.QUARANTINED)])
    return lateness.count_by_state(connection, payments, these, payments.c.undecided_since < before)


def chargeable(connection: sa.Connection, *, limit: int) -> list[str]:
    """Orders that can be paid and whose method is known, though nobody has begun to."""
    return list(connection.execute(_CHARGEABLE, {"most": limit}).scalars())


def _rows(of: Sequence[Payment]) -> list[dict[str, Any]]:
    return [{**asdict(one), "status": one.status.value} for one in of]


def _payment(row: Any) -> Payment:
    members = dict(row._mapping)
    return Payment(**{**members, "status": PaymentStatus(members["status"])})
