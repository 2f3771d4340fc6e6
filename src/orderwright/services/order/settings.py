"""Settings of the order service, from ORDERWRIGHT_ORDER_…"""

from pydantic import Field
from pydantic_settings import BaseSettings

from orderwright.kernel.settings import prefixed


class OrderSettings(BaseSettings):
    """How long an order waits, and for what."""

    model_config = prefixed("order")

    answer_wait_s: float = Field(
        2.0,
        ge=0,
        description="POST /orders that came so long ago is answered 202 instead of waiting on for the reservation",
    )
    reservation_timeout_s: float = Field(
        900.0, gt=0, description="An order whose stock is not reserved by then is cancelled"
    )
    payment_timeout_s: float = Field(900.0, gt=0, description="An order that is not paid by then is cancelled")
    drive_every_s: float = Field(1.0, gt=0, description="How often deadlines and pending undos are looked for")
    stream_poll_s: float = Field(
        2.0, gt=0, description="How often a live stream looks by itself for changes made elsewhere"
    )
    unknown_price_patience_s: float = Field(
        60.0,
        ge=0,
        description="How long a checked-out cart waits for a price that has not arrived, before it is cancelled",
    )
