"""Where RabbitMQ is, what the URL says of it, and how connections to it begin, fail and end.

Invariants: nothing waits longer than it was told to; whatever goes wrong between here and the broker is
BrokerUnavailable; no message and no log line carries the password.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlsplit

import structlog
from aiormq import Connection
from aiormq.exceptions import AMQPError, ConnectionClosed
from pamqp.common import FieldTable
from pamqp.exceptions import PAMQPException

from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError

log = structlog.get_logger(__name__)

HEARTBEAT_S = 10
"""Each side says something twice in this time."""
CLOSE_WITHIN_S = 3.0
DELIVERY_LIMIT = 100
TLS_OPTIONS = ("cafile", "certfile", "keyfile")
OF_THE_CLIENT = (AMQPError, PAMQPException, OSError, EOFError, RuntimeError, StopAsyncIteration)
"""What goes wrong between here and the broker; the last is how the client says that somebody hung up between frames."""


class _Attentive(Connection):
    """A connection that is given up after 19 s of silence at the latest: 14.3 s, looked at every 5 s."""

    HEARTBEAT_GRACE_MULTIPLIER = 1.3  # type: ignore[assignment]  # of HEARTBEAT_S + 1; the client takes any number


@dataclass(frozen=True, slots=True)
class Target:
    """What a broker URL means."""

    url: str = field(repr=False)
    """For the client: with the password, without our options."""
    place: str
    """For people: host, port and virtual host."""
    prefix: str
    delivery_limit: int
    """How often a message may come back unacknowledged before it goes to the dead letters."""
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> "Target":
        """Read `amqp[s]://user:password@host:port/vhost?…`. ConfigurationError."""
        parts = urlsplit(url)
        options = _options(parts)
        try:
            place = f"{parts.hostname or 'localhost'}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"
        except ValueError:
            # The parser's own words would show what stands behind the colon, which may be a password.
            raise ConfigurationError(
                "The port in the broker URL is no number; a password with @, /, ? or # must be percent-encoded"
            ) from None
        return cls(
            url=f"{parts.scheme}://{parts.netloc or 'localhost'}{parts.path}?heartbeat={HEARTBEAT_S}",
            place=place + (parts.path if parts.path != "/" else ""),
            prefix=options.get("prefix", ""),
            delivery_limit=_whole(options, "delivery_limit", DELIVERY_LIMIT),
            tls=_tls(options) if parts.scheme == "amqps" else None,
        )

    async def connect(self, purpose: str) -> Connection:
        """A connection of its own, which RabbitMQ's own tools list under that name."""
        # The client says at each attempt what is said here once an outage.
        logging.getLogger("aiormq").setLevel(logging.CRITICAL)
        name: FieldTable = {"connection_name": f"orderwright {self.prefix}{purpose}"}
        connection = _Attentive(self.url, context=self.tls, client_properties=name)
        await connection.connect()
        return connection

    @asynccontextmanager
    async def asked_to(self, task: str, *, within_s: float) -> AsyncIterator[None]:
        """Whatever keeps RabbitMQ from the task, or takes longer, is BrokerUnavailable."""
        try:
            async with asyncio.timeout(within_s):
                try:
                    yield
                except asyncio.CancelledError as error:
                    current = asyncio.current_task()
                    if current is None or current.cancelling():
                        raise
                    # Nobody cancelled us: the client ends what waits on a connection that it gave up in this way.
                    raise ConnectionError("the connection was given up") from error
        except TimeoutError as error:
            raise BrokerUnavailable(f"RabbitMQ at {self.place} did not {task} within {within_s:g} s") from error
        except Exception as error:
            # A plain Exception is what the client throws at whoever waits when the other side hung up after a frame
            # that was not read yet; anything of another kind that is not the client's is a mistake of ours.
            if type(error) is not Exception and not isinstance(error, OF_THE_CLIENT):
                raise
            raise BrokerUnavailable(f"RabbitMQ at {self.place} could not {task}: {told(error)}") from error


class Farewells:
    """Connections on their way out: nobody has to wait for a broker that does not answer."""

    def __init__(self) -> None:
        self._leaving: set[asyncio.Task[None]] = set()

    def bid(self, connection: Connection) -> None:
        """Close it, beside whatever else happens."""
        task = asyncio.create_task(_closed(connection))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def wait(self) -> None:
        """Until all are closed, or have been given up."""
        while self._leaving:
            await asyncio.wait(list(self._leaving))


async def _closed(connection: Connection) -> None:
    try:
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await connection.close(ConnectionClosed(0, "closed by orderwright"))
    except (Exception, asyncio.CancelledError) as error:
        log.debug("connection_left_unheard", reason=told(error))


def told(error: BaseException | None) -> str:
    """One line on an error."""
    return "it ended" if error is None or type(error) is Exception else f"{type(error).__name__}: {error}"


def _options(parts: SplitResult) -> dict[str, str]:
    known = ("delivery_limit", "prefix", *(TLS_OPTIONS if parts.scheme == "amqps" else ()))
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in known:
            raise ConfigurationError(f"{parts.scheme}:// knows no option {name!r}; known are {', '.join(known)}")
    return options


def _whole(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigurationError(f"?{name}={text} in the broker URL must be a whole number from 1")
    return int(text)


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    if "keyfile" in options and "certfile" not in options:
        raise ConfigurationError("?keyfile= in the broker URL needs ?certfile= as well")
    try:
        context = ssl.create_default_context(cafile=options.get("cafile"))
        if "certfile" in options:
            context.load_cert_chain(options["certfile"], options.get("keyfile"))
    except OSError as error:
        named = ", ".join(f"{name}={options[name]}" for name in TLS_OPTIONS if name in options)
        raise ConfigurationError(f"The TLS files in the broker URL ({named}) cannot be used: {error}") from error
    return context
