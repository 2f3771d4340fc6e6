"""E-mail over SMTP with aiosmtplib.

Invariant: the Message-ID is made from the notification's id, so a message that is sent twice after a crash can be known
as the same one by whoever receives it. Headers are set through EmailMessage, which refuses line breaks.
"""

from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import aiosmtplib

from orderwright.kernel.errors import ConfigurationError
from orderwright.services.notification.providers import Outgoing, SendLater, SendNever

PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}


class SmtpCarrier:
    """Hands e-mails to one SMTP server."""

    def __init__(self, url: str, sender: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ConfigurationError("ORDERWRIGHT_NOTIFICATION_SMTP_URL is written like smtp://host:25")
        self._host = parts.hostname
        self._port = parts.port or PORTS[parts.scheme]
        self._username = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._tls = parts.scheme == "smtps"
        self._start_tls = parts.scheme == "smtp+starttls"
        self._sender = sender
        self._timeout_s = timeout_s

    async def send(self, message: Outgoing) -> None:
        try:
            await aiosmtplib.send(
                self._mail(message),
                hostname=self._host,
                port=self._port,
                username=self._username,
                password=self._password,
                use_tls=self._tls,
                start_tls=self._start_tls,
                timeout=self._timeout_s,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            raise (SendNever if all(500 <= code < 600 for code in codes) else SendLater)(
                f"The server refused the recipient ({', '.join(str(code) for code in codes)})"
            ) from error
        except aiosmtplib.SMTPResponseException as error:
            kind = SendNever if 500 <= error.code < 600 and error.code != 535 else SendLater
            raise kind(f"The server answered {error.code}") from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise SendLater(f"The mail server does not answer: {type(error).__name__}") from error

    def _mail(self, message: Outgoing) -> EmailMessage:
        mail = EmailMessage()
        try:
            mail["From"] = self._sender
            mail["To"] = message.recipient
            mail["Subject"] = message.subject
            mail["Message-ID"] = f"<{message.id}@orderwright>"
        except ValueError as error:
            raise SendNever("The recipient or the subject cannot stand in a header") from error
        mail.set_content(message.body)
        return mail
