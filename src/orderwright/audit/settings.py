"""Settings of the auditor, from ORDERWRIGHT_AUDIT_…"""

from pydantic import Field
from pydantic_settings import BaseSettings

from orderwright.kernel.settings import prefixed


class AuditSettings(BaseSettings):
    """How often to look, and how patient to be with what is under way."""

    model_config = prefixed("audit")

    every_s: float = Field(
        600.0, ge=0, description="How often the process that runs everything audits its books; 0: never"
    )
    grace_s: float = Field(60.0, ge=0, description="What changed within this time is under way and not judged")
    settle_s: float = Field(5.0, ge=0, description="A difference counts when it is still there so much later")
    overdue_s: float = Field(900.0, ge=0, description="What waits longer for its end, or for a refund, is a finding")
    page: int = Field(500, ge=1, le=5000, description="How many orders are read at once")
    histories: int = Field(
        1,
        ge=0,
        description="Every how many-th order is rebuilt from its history; 1: all, 0: none. "
        "The process that runs everything takes a tenth of that at a time, another one each time",
    )
    rest: float = Field(
        3.0,
        ge=0,
        description="In the process that runs everything: so many times as long as a page took it pauses, "
        "and more as the process is busier",
    )
