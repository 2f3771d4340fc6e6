"""Settings of the payment service, from ORDERWRIGHT_PAYMENT_…"""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from orderwright.kernel.settings import prefixed


class PaymentSettings(BaseSettings):
    """Which provider, and how patient to be with it."""

    model_config = prefixed("payment")

    provider: str = Field("sandbox", description="Who takes the money")
    charge_timeout_s: float = Field(
        5.0, gt=0, le=20, description="How long POST /payments waits for the provider before it answers 202"
    )
    order_wait_s: float = Field(
        2.0, ge=0, description="How long a payment or a change waits for an order that was placed a moment ago"
    )
    alarm_after_minutes: float = Field(
        15.0, gt=0, description="A charge or refund whose outcome is unknown for longer is an alarm"
    )
    park_webhooks_minutes: float = Field(
        60.0, gt=0, description="A webhook about a payment that is not known here is tried for so long, then an alarm"
    )
    sandbox_slow_s: float = Field(3.0, ge=0, description="How slow the sandbox's slow card is")
    sandbox_silent_s: float = Field(
        1200.0, ge=0, description="How long the sandbox does not say what became of a charge of its silent card"
    )
    sandbox_webhooks: bool = Field(False, description="Whether the sandbox sends webhooks to this service")
    sandbox_webhook_secret: SecretStr | None = Field(
        None,
        description="Signs the sandbox's webhooks; unset: drawn once and kept in its books if it sends any, "
        "otherwise none is accepted",
    )
