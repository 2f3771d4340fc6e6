"""The published language: what services may know of each other, one module for each owner of events.

`EVENTS` is the whole catalogue. A contract changes only by adding optional members; anything else is a new version.
"""

from orderwright.contracts import carts, catalog, inventory, orders, payments, shipping
from orderwright.kernel.messages import Event

EVENTS: tuple[type[Event], ...] = (
    *catalog.EVENTS,
    *carts.EVENTS,
    *orders.EVENTS,
    *payments.EVENTS,
    *inventory.EVENTS,
    *shipping.EVENTS,
)
