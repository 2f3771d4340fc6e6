"""Settings of the gateway, from ORDERWRIGHT_GATEWAY_…"""

from pydantic import Field, IPvAnyNetwork
from pydantic_settings import BaseSettings

from orderwright.kernel.settings import prefixed


class GatewaySettings(BaseSettings):
    """How much one caller may ask, whom to believe, and how patient to be with the services."""

    model_config = prefixed("gateway")

    caller_per_minute: int = Field(1200, ge=0, description="Requests a minute of one caller; 0: any number")
    address_per_minute: int = Field(2400, ge=0, description="Requests a minute from one address; 0: any number")
    login_per_minute: int = Field(
        60, ge=0, description="Log-ins, registrations and refreshes a minute from one address; 0: any number"
    )
    upstream_timeout_s: float = Field(10.0, gt=0, description="A service that takes longer is answered for with 503")
    trusted_proxies: list[IPvAnyNetwork] = Field(
        [], description='Addresses whose X-Forwarded-For is believed, as JSON: ["10.0.0.5"]'
    )
    cors_origins: list[str] = Field([], description="Origins that browsers may call from, as JSON; empty: none")
