"""SMS and push through Apprise, which speaks to many vendors: the URL says which (https://github.com/caronc/apprise)."""

import asyncio

from orderwright.kernel.errors import ConfigurationError
from orderwright.services.notification.providers import Outgoing, SendLater


class AppriseCarrier:
    """Hands messages to the vendor that the URL names; `{recipient}` in it stands for whom it goes to."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        if "://" not in url:
            raise ConfigurationError("An Apprise URL is written like twilio://account:token@from/{recipient}")

    async def send(self, message: Outgoing) -> None:
        # Apprise costs a quarter of a second to import; who sends no SMS does without it.
        import apprise

        vendor = apprise.Apprise()
        if not vendor.add(self._url.replace("{recipient}", message.recipient)):
            raise ConfigurationError("Apprise does not know the vendor that the URL names")
        try:
            async with asyncio.timeout(self._timeout_s):
                taken = await vendor.async_notify(title=message.subject, body=message.body)
        except TimeoutError:
            taken = None
        if not taken:
            raise SendLater("The vendor did not take the message")
