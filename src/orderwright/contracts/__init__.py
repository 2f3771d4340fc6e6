"""The published language: what services may know of each other, one module for each owner of events.

`EVENTS` is the whole catalogue. A contract changes only by adding optional members; anything else is a new version.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

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


def audience() -> Mapping[str, Sequence[str]]:
    """The topics that each service hears."""
    topics: defaultdict[str, list[str]] = defaultdict(list)
    for event in EVENTS:
        for service in event.heard_by:
            topics[service].append(event.topic)
    return topics
