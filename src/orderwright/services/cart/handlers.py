"""What carts hear: the catalog."""

from collections.abc import Sequence

from msgspec import UNSET

from orderwright.contracts.catalog import ProductCreated, ProductDeleted, ProductUpdated
from orderwright.kernel.consumer import Handler
from orderwright.kernel.messages import Event, Received
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.cart import actions
from orderwright.services.cart.actions import Said


def handlers(currency: str) -> dict[type[Event], Handler]:
    """Everything that the cart service consumes."""

    def on_product_said(
        events: Sequence[Received[ProductCreated | ProductUpdated | ProductDeleted]], uow: UnitOfWork
    ) -> None:
        actions.hear_catalog(uow, [_said(received) for received in events], currency)

    return {ProductCreated: on_product_said, ProductUpdated: on_product_said, ProductDeleted: on_product_said}


def _said(received: Received[ProductCreated | ProductUpdated | ProductDeleted]) -> Said:
    event, at = received.event, received.message.time
    if isinstance(event, ProductDeleted):
        return Said(event.product_id, at, None)
    name = None if event.name is UNSET else event.name
    return Said(event.product_id, at, event.price, name, None if event.currency is UNSET else event.currency)
