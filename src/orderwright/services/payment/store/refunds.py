"""Refunds: rows that are added when money has to go back, and carried out under their own id as the provider's key.

Invariants: a refund's key never changes. `sent` is true from before the provider is called until it is certain that
nothing came of the call.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from orderwright.kernel.rows import due, one_of
from orderwright.services.payment.store import lateness
from orderwright.services.payment.tables import refunds

PENDING: Final = "pending"
UNKNOWN: Final = "unknown"
"""It was asked for and no answer came; the provider is asked what became of it."""
DONE: Final = "done"
_OPEN = one_of(refunds.c.status, [PENDING, UNKNOWN])
_DUE = due(sa.select(refunds).where(_OPEN), refunds.c.next_attempt_at)


@dataclass(frozen=True, slots=True)
class Refund:
    """Money to give back, or given back."""

    id: str
    payment_id: str
    amount_minor: int
    status: str
    reason: str | None
    sent: bool
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime


def insert(
    connection: sa.Connection,
    refund_id: str,
    payment_id: str,
    amount_minor: int,
    now: datetime,
    *,
    reason: str | None,
    requested_by: str | None,
) -> Refund:
    """Money that has to go back; the id is the key under which the provider is asked."""
    connection.execute(
        sa.insert(refunds).values(
            id=refund_id,
            payment_id=payment_id,
            amount_minor=amount_minor,
            status=PENDING,
            reason=reason,
            requested_by=requested_by,
            sent=False,
            attempts=0,
            next_attempt_at=now,
            created_at=now,
            updated_at=now,
        )
    )
    return Refund(refund_id, payment_id, amount_minor, PENDING, reason, False, 0, now, now)


def of_payment(connection: sa.Connection, payment_id: str) -> list[Refund]:
    """A payment's refunds, the oldest first."""
    query = sa.select(refunds).where(refunds.c.payment_id == payment_id).order_by(refunds.c.id)
    return [_refund(row) for row in connection.execute(query)]


def by_id(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Refund]:
    """These refunds."""
    query = sa.select(refunds).where(one_of(refunds.c.id, sorted(set(ids))))
    return {row.id: _refund(row) for row in connection.execute(query)}


def claim_due(connection: sa.Connection, now: datetime, *, limit: int, lease: timedelta) -> list[Refund]:
    """Refunds that are due, with `sent` as it was before; nobody else takes them meanwhile.

    What was sent and is not done when its lease is over is unknown from now on.
    """
    claimed = [_refund(row) for row in connection.execute(_DUE, {"now": now, "most": limit})]
    if not claimed:
        return []
    claim = sa.update(refunds).values(
        attempts=refunds.c.attempts + 1,
        next_attempt_at=now + lease,
        sent=True,
        status=sa.case((refunds.c.sent, UNKNOWN), else_=PENDING),
    )
    connection.execute(claim.where(one_of(refunds.c.id, [refund.id for refund in claimed])))
    return claimed


def release(connection: sa.Connection, now: datetime) -> None:
    """Nobody is asking the provider anything: right when this process is the only one that could, at its start."""
    connection.execute(sa.update(refunds).where(_OPEN).values(next_attempt_at=now))


def finish(connection: sa.Connection, refund_id: str, now: datetime) -> bool:
    """The provider has given the money back; answers whether that was news."""
    statement = sa.update(refunds).where(refunds.c.id == refund_id, _OPEN)
    return connection.execute(statement.values(status=DONE, next_attempt_at=None, updated_at=now)).rowcount == 1


def not_sent(connection: sa.Connection, refund_id: str, at: datetime) -> None:
    """Nothing came of the call that was under way; try again then. What was unknown before stays so."""
    mine = refunds.c.id == refund_id
    connection.execute(sa.update(refunds).where(mine, _OPEN).values(next_attempt_at=at))
    connection.execute(sa.update(refunds).where(mine, refunds.c.status == PENDING).values(sent=False))


def unknown(connection: sa.Connection, refund_id: str, at: datetime) -> None:
    """A call ended without an answer: it is unknown until the provider tells; ask it then."""
    statement = sa.update(refunds).where(refunds.c.id == refund_id, _OPEN)
    connection.execute(statement.values(status=UNKNOWN, next_attempt_at=at))


def ask_at(connection: sa.Connection, refund_id: str, at: datetime) -> bool:
    """Ask the provider then; answers whether what became of it is unknown."""
    statement = sa.update(refunds).where(refunds.c.id == refund_id, refunds.c.status == UNKNOWN)
    return connection.execute(statement.values(next_attempt_at=at)).rowcount == 1


def try_at(connection: sa.Connection, refund_id: str, at: datetime) -> bool:
    """Try again then what is not under way; answers whether there was anything to try."""
    idle = sa.or_(refunds.c.status == UNKNOWN, sa.not_(refunds.c.sent))
    statement = sa.update(refunds).where(refunds.c.id == refund_id, _OPEN, idle)
    return connection.execute(statement.values(next_attempt_at=at)).rowcount == 1


def waiting(connection: sa.Connection, before: datetime, *, limit: int) -> list[Refund]:
    """Refunds that are unknown, or open since before then, the oldest first."""
    either = sa.or_(refunds.c.status == UNKNOWN, refunds.c.created_at < before)
    query = sa.select(refunds).where(_OPEN, either).order_by(refunds.c.created_at, refunds.c.id).limit(limit)
    return [_refund(row) for row in connection.execute(query)]


def take_overdue(connection: sa.Connection, before: datetime, now: datetime, *, limit: int = 100) -> list[Refund]:
    """Refunds that are open since before then, each one once."""
    late = sa.and_(_OPEN, refunds.c.created_at < before)
    return [_refund(row) for row in lateness.take_overdue(connection, refunds, late, now, limit=limit)]


def count_waiting(connection: sa.Connection, before: datetime) -> dict[tuple[str, bool], int]:
    """How many refunds are open, by state and whether they are since before then."""
    return lateness.count_by_state(connection, refunds, _OPEN, refunds.c.created_at < before)


def _refund(row: Any) -> Refund:
    return Refund(**{name: getattr(row, name) for name in Refund.__slots__})
