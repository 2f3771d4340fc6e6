"""Settings of the inventory service, from ORDERWRIGHT_INVENTORY_…"""

from pydantic import Field
from pydantic_settings import BaseSettings

from orderwright.kernel.settings import prefixed


class InventorySettings(BaseSettings):
    """How long goods are set aside, and how often levels are told."""

    model_config = prefixed("inventory")

    reservation_minutes: float = Field(
        20.0, gt=0, description="How long an order's goods are set aside without payment"
    )
    soft_reservation_minutes: float = Field(
        0.0, ge=0, description="How long a cart's goods are set aside; 0 sets nothing aside for carts"
    )
    publish_every_s: float = Field(0.5, gt=0, description="A product's level is told at most this often")
    expire_every_s: float = Field(5.0, gt=0, description="How often expired reservations are looked for")
