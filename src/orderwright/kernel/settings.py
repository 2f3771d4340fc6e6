"""Settings: typed, from the environment, each service with a prefix of its own.

Invariant: settings are read once, at the edge, and handed down; nothing else looks at the environment. The two that
most users change are ORDERWRIGHT_DATABASE_URL and ORDERWRIGHT_BROKER_URL.
"""

from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ORDERWRIGHT_"

Role = Literal["api", "worker", "relay", "jobs"]
"""What a process does for a service: answer requests, handle events, send what others left, do what is due."""
ALL_ROLES: Final[frozenset[Role]] = frozenset(get_args(Role))


def prefixed(service: str) -> SettingsConfigDict:
    """The configuration of a service's settings class: `ORDERWRIGHT_<SERVICE>_…` from the environment."""
    return SettingsConfigDict(env_prefix=f"{PREFIX}{service.upper()}_", extra="ignore", frozen=True)


class PlatformSettings(BaseSettings):
    """What all services of an installation share."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".orderwright"), description="Where the embedded mode keeps its files")
    database_url: str | None = Field(
        None,
        description="sqlite:///folder, or postgresql://user@host/name for a database name_service each; "
        "unset: SQLite files in the data folder",
    )
    broker_url: str = Field(
        "memory://", description="memory:// (in this process), redis://host/0, amqp://host/, or kafka://host:port"
    )
    migrate: Literal["at-start", "by-hand"] = Field(
        "at-start", description="Whether a service brings its database up to date, or waits for `orderwright migrate`"
    )
    host: str = Field("127.0.0.1", description="The address to listen on")
    currency: str = Field("USD", description="The currency where nothing else is said (ISO 4217)")
    log_format: Literal["json", "console"] = Field("console", description="How a line of log looks")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="From which level on")
    service_secret: SecretStr | None = Field(
        None,
        description="What services prove to identity that they are services; unset: made and kept in the data folder",
    )
    max_body_bytes: int = Field(1024 * 1024, ge=1024, description="Larger request bodies are answered with 413")
    request_timeout_s: float = Field(10.0, gt=0, description="A request that takes longer is answered with 503")
    max_requests_at_once: int = Field(
        256,
        ge=1,
        description="More requests at the same time are answered with 503 at once, by each service; "
        "other services of the platform still find a quarter more room",
    )
    stop_timeout_s: float = Field(10.0, gt=0, description="How long a stop may take before it is forced")
    drain_s: float = Field(0.0, ge=0, description="How long to answer 'not ready' before the doors close")

    @property
    def effective_database_url(self) -> str:
        """The database URL in use."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve()}"
