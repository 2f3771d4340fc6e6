"""The laws of an order's end: it comes in time, it comes once, and the saga and the order agree on it.

Pure: a dossier in, findings out.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from orderwright.audit.checks import Moment
from orderwright.audit.findings import Finding
from orderwright.audit.orders.dossier import Dossier
from orderwright.kernel.saga import SagaStatus
from orderwright.services.order.domain import OrderStatus

UNDO_ATTEMPTS: Final = 5
"""An undo that was announced so often is heard by nobody."""
_LIVING: Final = frozenset({OrderStatus.PENDING, OrderStatus.AWAITING_PAYMENT, OrderStatus.CONFIRMED})
AGREEING: Final[Mapping[SagaStatus, frozenset[OrderStatus]]] = {
    SagaStatus.RUNNING: _LIVING,
    SagaStatus.COMPLETED: frozenset({OrderStatus.COMPLETED}),
    SagaStatus.COMPENSATING: frozenset({OrderStatus.CANCELLED}),
    SagaStatus.COMPENSATED: frozenset({OrderStatus.CANCELLED}),
}
"""Which states of an order go with which state of its saga."""


def end_findings(dossier: Dossier, moment: Moment) -> Iterator[Finding]:
    """What is wrong with how an order ends, or does not."""
    order, saga = dossier.order, dossier.saga
    if saga is None:
        yield dossier.finding("saga_differs", "the order has no saga")
    elif dossier.status not in AGREEING[SagaStatus(saga.status)]:
        yield dossier.finding("saga_differs", f"the order is {order.status}, its saga is {saga.status}")
    else:
        yield from _overdue(dossier, moment)
    if order.cancel_requested and dossier.status is OrderStatus.COMPLETED and order.updated_at < moment.overdue_before:
        yield dossier.finding("cancellation_overdue", f"asked for since {order.updated_at}: {order.cancel_requested}")
    left = dossier.sent in {"shipped", "delivered"}
    if dossier.status is OrderStatus.CANCELLED and (left or order.fulfillment_status != "unfulfilled"):
        where = dossier.sent if left else order.fulfillment_status
        yield dossier.finding("shipped_and_cancelled", f"the order is cancelled ({order.cancel_reason}) and {where}")


def _overdue(dossier: Dossier, moment: Moment) -> Iterator[Finding]:
    saga = dossier.saga
    status = SagaStatus(saga.status)
    if status not in {SagaStatus.RUNNING, SagaStatus.COMPENSATING}:
        return
    asked = max((step["undo_attempts"] for step in saga.steps if step["undoing"]), default=0)
    if asked >= UNDO_ATTEMPTS:
        steps = ", ".join(step["name"] for step in saga.steps if step["undoing"])
        yield dossier.finding("saga_overdue", f"the undo of {steps} was announced {asked} times and is not confirmed")
    elif saga.due_at is not None and saga.due_at < moment.settled_before:
        yield dossier.finding("saga_overdue", f"the order is {dossier.order.status}, its saga was due at {saga.due_at}")
    elif saga.due_at is None and saga.updated_at < moment.overdue_before:
        since = f"has stood still since {saga.updated_at}"
        yield dossier.finding("saga_overdue", f"the order is {dossier.order.status}, its saga {since}")
