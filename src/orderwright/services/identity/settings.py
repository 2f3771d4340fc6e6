"""Settings of the identity service, from ORDERWRIGHT_IDENTITY_…"""

from pydantic import Field, IPvAnyNetwork, SecretStr
from pydantic_settings import BaseSettings

from orderwright.kernel.addresses import LOOPBACK_NETWORKS
from orderwright.kernel.settings import prefixed


class IdentitySettings(BaseSettings):
    """How long proofs last, and how patient to be with guessing."""

    model_config = prefixed("identity")

    access_minutes: float = Field(15.0, gt=0, description="How long an access token is valid")
    refresh_days: float = Field(30.0, gt=0, description="How long somebody stays logged in without a password")
    key_days: float = Field(30.0, gt=0, description="How long a signing key is used before the next one")
    key_passphrase: SecretStr | None = Field(None, description="Encrypts the signing keys in the database")
    free_attempts: int = Field(5, ge=1, description="So many wrong passwords are free")
    first_lock_s: float = Field(30.0, gt=0, description="The first lock lasts so long; each further one twice as long")
    longest_lock_s: float = Field(900.0, gt=0, description="No lock lasts longer")
    address_free_attempts: int = Field(50, ge=1, description="So many wrong passwords from one address are free")
    trusted_gateways: list[IPvAnyNetwork] = Field(
        list(LOOPBACK_NETWORKS),
        description='Networks of gateways, whose word on a client\'s address is believed, as JSON: ["10.0.0.0/8"]',
    )
    argon2_memory_kib: int = Field(19_456, ge=8, description="Memory of one password hash (OWASP: 19 MiB)")
    argon2_time_cost: int = Field(2, ge=1, description="Passes of one password hash")
