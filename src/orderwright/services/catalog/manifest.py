"""The catalog: what can be bought, and for how much."""

from pathlib import Path

from orderwright.contracts import catalog
from orderwright.contracts.inventory import StockUpdated
from orderwright.kernel.manifest import Kit, Service
from orderwright.services.catalog.api import CatalogDesk, router
from orderwright.services.catalog.handlers import on_stock_updated


def assemble(kit: Kit) -> Service:
    """The catalog service, ready to run."""
    return Service(
        name="catalog",
        port=8005,
        summary="Products and prices; the only authority on price.",
        migrations=Path(__file__).parent / "migrations",
        router=router,
        desk=CatalogDesk(kit),
        consumes={StockUpdated: on_stock_updated},
        emits=catalog.EVENTS,
    )
