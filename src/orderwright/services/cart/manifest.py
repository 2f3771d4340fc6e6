"""The cart: what somebody is about to order."""

from pathlib import Path

from orderwright.contracts import carts
from orderwright.kernel.manifest import Kit, Service
from orderwright.services.cart.api import CartDesk, router
from orderwright.services.cart.handlers import handlers
from orderwright.services.cart.settings import CartSettings


def assemble(kit: Kit) -> Service:
    """The cart service, ready to run."""
    return Service(
        name="cart",
        port=8006,
        summary="Carts and checkout.",
        migrations=Path(__file__).parent / "migrations",
        router=router,
        desk=CartDesk(kit, CartSettings()),
        consumes=handlers(kit.platform.currency),
        emits=carts.EVENTS,
    )
