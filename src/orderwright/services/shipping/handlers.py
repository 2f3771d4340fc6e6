"""What shipping hears."""

from collections.abc import Sequence

from orderwright.contracts.orders import OrderCancelled, OrderCompleted, OrderCreated
from orderwright.kernel.messages import Received
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.shipping import actions
from orderwright.services.shipping.actions import Ordered


def on_order_created(events: Sequence[Received[OrderCreated]], uow: UnitOfWork) -> None:
    """Remember whose it is."""
    actions.orders_created(uow, [Ordered(r.event.order_id, r.event.user_id, bool(r.event.items)) for r in events])


def on_order_completed(events: Sequence[Received[OrderCompleted]], uow: UnitOfWork) -> None:
    """Prepare a shipment."""
    actions.orders_completed(uow, [received.event.order_id for received in events])


def on_order_cancelled(events: Sequence[Received[OrderCancelled]], uow: UnitOfWork) -> None:
    """Let go of it."""
    actions.let_go(uow, [received.event.order_id for received in events])
