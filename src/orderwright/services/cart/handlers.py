"""What carts hear: the catalog."""

from collections.abc import Sequence

from msgspec import UNSET

from orderwright.contracts.catalog import ProductCreated, ProductDeleted, ProductUpdated
from orderwright.kernel import money
from orderwright.kernel.handling import Handler
from orderwright.kernel.messages import Event, Received
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.cart import actions
from orderwright.services.cart.domain import Said

ProductNews = ProductCreated | ProductUpdated | ProductDeleted


def handlers(default_currency: str) -> dict[type[Event], Handler]:
    """Everything that the cart service consumes."""

    def on_product_said(events: Sequence[Received[ProductNews]], uow: UnitOfWork) -> None:
        actions.hear_catalog(uow, [_said(received, default_currency) for received in events])

    return {ProductCreated: on_product_said, ProductUpdated: on_product_said, ProductDeleted: on_product_said}


def _said(received: Received[ProductNews], default_currency: str) -> Said:
    event, at = received.event, received.message.time
    if isinstance(event, ProductDeleted):
        return Said(event.product_id, at, None, default_currency)
    currency = default_currency if event.currency is UNSET else event.currency
    name = None if event.name is UNSET else event.name
    return Said(event.product_id, at, money.exact(event.price, currency), currency, name)
