"""What the catalog hears."""

from collections.abc import Sequence

from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel.messages import Received
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.catalog import actions


def on_stock_updated(events: Sequence[Received[StockUpdated]], uow: UnitOfWork) -> None:
    """Show in the listing what can be bought now."""
    actions.learn_levels(uow, [(r.event.product_id, r.event.quantity, r.message.time) for r in events])
