"""Settings of the cart service, from ORDERWRIGHT_CART_…"""

from pydantic import Field
from pydantic_settings import BaseSettings

from orderwright.kernel.settings import prefixed


class CartSettings(BaseSettings):
    """How much fits into a cart."""

    model_config = prefixed("cart")

    max_lines: int = Field(100, ge=1, description="How many different products a cart may hold")
    max_quantity: int = Field(10_000, ge=1, le=10_000, description="How many of one product a cart may hold")
