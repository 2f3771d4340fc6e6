"""The ways out: one Protocol, SMTP for e-mail, Apprise for SMS and push."""

from dataclasses import dataclass
from typing import Protocol

from orderwright.kernel.errors import OrderwrightError
from orderwright.services.notification.domain import Channel
from orderwright.services.notification.settings import NotificationSettings


class SendLater(OrderwrightError):
    """The server cannot take it now."""


class SendNever(OrderwrightError):
    """The server will never take it."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message, ready to leave."""

    id: str
    recipient: str
    subject: str
    body: str


class Carrier(Protocol):
    """Somebody who takes messages to people."""

    async def send(self, message: Outgoing) -> None:
        """Hand the message over. SendLater; SendNever. The same id may be handed over twice after a crash."""


def carriers(settings: NotificationSettings) -> dict[Channel, Carrier]:
    """The ways out that are set; a channel without one keeps its messages."""
    from orderwright.services.notification.providers.apprise_carrier import AppriseCarrier
    from orderwright.services.notification.providers.smtp import SmtpCarrier

    ways: dict[Channel, Carrier] = {}
    if settings.smtp_url is not None:
        ways[Channel.EMAIL] = SmtpCarrier(
            settings.smtp_url.get_secret_value(), settings.sender, settings.send_timeout_s
        )
    if settings.sms_url is not None:
        ways[Channel.SMS] = AppriseCarrier(settings.sms_url.get_secret_value(), settings.send_timeout_s)
    if settings.push_url is not None:
        ways[Channel.PUSH] = AppriseCarrier(settings.push_url.get_secret_value(), settings.send_timeout_s)
    return ways
