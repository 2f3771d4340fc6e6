"""Settings of the notification service, from ORDERWRIGHT_NOTIFICATION_…"""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from orderwright.kernel.settings import prefixed


class NotificationSettings(BaseSettings):
    """Through what to send, and how patient to be."""

    model_config = prefixed("notification")

    smtp_url: SecretStr | None = Field(
        None,
        description="smtp://user:password@host:25, smtps://… or smtp+starttls://…; unset: e-mails are kept, not sent",
    )
    sender: str = Field("orderwright <orders@localhost>", description="The From of e-mails")
    sms_url: SecretStr | None = Field(None, description="An Apprise URL for SMS; unset: they are kept, not sent")
    push_url: SecretStr | None = Field(None, description="An Apprise URL for push; unset: they are kept, not sent")
    send_timeout_s: float = Field(10.0, gt=0, description="How long a server may take for one message")
    attempts: int = Field(8, ge=1, description="A message that fails so often counts as failed")
