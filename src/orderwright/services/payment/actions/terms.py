"""Change what an order costs, while its goods are being changed.

Invariant: from `hold` until `set_terms` nothing can be charged. Whoever changes an order and dies on the way leaves it
unpayable, and so it is cancelled in the end; it is never paid at one price with the goods of another.
"""

from datetime import timedelta

from msgspec.structs import replace

from orderwright.kernel.errors import Conflict, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.payment.domain import Payment, PaymentStatus
from orderwright.services.payment.store import payments as kept

HOLD = timedelta(seconds=30)
"""How long a change may take; after it somebody else may begin one."""


def hold(uow: UnitOfWork, order_id: str, holder: str) -> Payment:
    """Let nothing be charged. NotFound; Conflict once it is being paid, or while somebody else changes the order."""
    payment = _pending(uow, order_id)
    others = payment.held_by not in {None, holder} and payment.held_until is not None and payment.held_until > uow.now
    if others:
        raise Conflict("The order is being changed at this moment", problem="change-in-progress", retry_after_s=1)
    held = replace(payment, held_by=holder, held_until=uow.now + HOLD, updated_at=uow.now)
    kept.save(uow.connection, [held])
    return held


def set_terms(uow: UnitOfWork, order_id: str, holder: str, amount_minor: int) -> Payment:
    """What the order costs now; it can be paid again. Conflict for anybody but the holder."""
    payment = _pending(uow, order_id)
    if payment.held_by != holder:
        raise Conflict("Somebody else is changing the order", problem="change-in-progress", retry_after_s=1)
    changed = replace(payment, amount_minor=amount_minor, held_by=None, held_until=None, updated_at=uow.now)
    kept.save(uow.connection, [changed])
    uow.tell(order_id)
    return changed


def _pending(uow: UnitOfWork, order_id: str) -> Payment:
    payment = kept.by_order(uow.connection, [order_id], lock=True).get(order_id)
    if payment is None or not payment.known:
        raise NotFound("There is no such order")
    if payment.status is not PaymentStatus.PENDING or payment.order_cancelled:
        raise Conflict("The order is paid, being paid, or cancelled", problem="invalid-state-transition")
    return payment
