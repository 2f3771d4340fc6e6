"""Shipping: what has to leave, what has left, what has arrived."""

from pathlib import Path

from orderwright.contracts import shipping
from orderwright.contracts.orders import OrderCancelled, OrderCompleted, OrderCreated
from orderwright.kernel.manifest import Kit, Service
from orderwright.services.shipping import handlers
from orderwright.services.shipping.api import ShippingDesk, router


def assemble(kit: Kit) -> Service:
    """The shipping service, ready to run."""
    return Service(
        name="shipping",
        port=8007,
        summary="Shipments, carriers and tracking.",
        migrations=Path(__file__).parent / "migrations",
        router=router,
        desk=ShippingDesk(kit.units),
        patience_s=0.25,
        consumes={
            OrderCreated: handlers.on_order_created,
            OrderCompleted: handlers.on_order_completed,
            OrderCancelled: handlers.on_order_cancelled,
        },
        emits=shipping.EVENTS,
    )
