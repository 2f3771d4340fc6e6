"""The way to a Redis server: its address, and pipelines of commands that end in time.

Invariants: the client never repeats anything by itself, so nothing is sent twice unknowingly and an outage is known at
once. A password appears in no message. What Redis refuses is a value among the replies; what it does not answer is
BrokerUnavailable.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import hiredis
from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError

Command = tuple[Any, ...]
"""A command and its arguments."""

PATIENCE_S = 5.0
CONNECT_S = 3.0
LET_GO_S = 1.0
UNREADABLE = (
    "The Redis URL must be like redis://user:password@host:6379/0; "
    "special characters in user and password are percent-encoded"
)
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class Address:
    """What a broker URL says."""

    host: str
    port: int
    db: int
    username: str | None
    password: str | None = field(repr=False)
    tls: dict[str, str] | None
    """Files for TLS by the client's names; None for a connection in the clear."""
    prefix: str
    claim_after_s: float
    keep_s: float

    @classmethod
    def parse(cls, url: str) -> "Address":
        """The address in `url`. ConfigurationError, which never shows the URL: there may be a password in it."""
        parts = _split(url)
        known = ("prefix", "claim_after_s", "keep_s", *(TLS_OPTIONS if parts.scheme == "rediss" else ()))
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name in options:
            if name not in known:
                raise ConfigurationError(f"The Redis URL has an unknown option {name!r}; known are {', '.join(known)}")
        db = parts.path.removeprefix("/") or "0"
        if not (parts.hostname and db.isascii() and db.isdigit()) or parts.fragment:
            raise ConfigurationError(UNREADABLE)
        return cls(
            host=parts.hostname,
            port=6379 if parts.port is None else parts.port,
            db=int(db),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls={name: options[name] for name in TLS_OPTIONS if name in options} if parts.scheme == "rediss" else None,
            prefix=options.get("prefix", ""),
            claim_after_s=_seconds(options, "claim_after_s", 30.0, least=0.1),
            keep_s=_seconds(options, "keep_s", 600.0, least=0.0),
        )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text would show pieces of the URL
        port = 0
    if port == 0:
        raise ConfigurationError(UNREADABLE)
    return parts


def _seconds(options: dict[str, str], name: str, default: float, *, least: float) -> float:
    try:
        value = float(options.get(name, default))
    except ValueError:
        value = -1.0
    if not least <= value <= 1e9:  # NaN is refused as well
        raise ConfigurationError(f"?{name}={options[name]} must be a number of seconds, {least:g} or more")
    return value


def _packed(commands: Iterable[Iterable[Any]]) -> list[bytes]:
    """All of `commands` as they go over the wire, by hiredis: in Python it was half of what publishing cost here."""
    return [b"".join(hiredis.pack_command(tuple(command)) for command in commands)]


class PlainConnection(Connection):
    """In the clear."""

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return _packed(commands)


class TlsConnection(SSLConnection):
    """TLS; the server's certificate must be good for its name."""

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return _packed(commands)

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close it, also where the server says no goodbye: asyncio would keep the socket for another 30 s."""
        writer = self._writer
        try:
            await super().disconnect(*args, **kwargs)
        finally:
            if writer is not None:
                writer.transport.abort()


class Link:
    """A few connections for one purpose, made when they are needed and again after an outage."""

    def __init__(self, address: Address, *, patience_s: float = PATIENCE_S) -> None:
        self.where = f"{address.host}:{address.port}"
        self._patience_s = patience_s
        self._closed = False
        tls: dict[str, Any] = dict(address.tls or {})
        self._pool = ConnectionPool(
            connection_class=PlainConnection if address.tls is None else TlsConnection,
            host=address.host,
            port=address.port,
            db=address.db,
            username=address.username,
            password=address.password,
            client_name="orderwright",
            # Replies of one shape. Version 3 would add maintenance notices, and maps that cost more to read.
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            # The patience is ours, in `run`: the client's own would use asyncio.wait_for, which may swallow a
            # cancellation before Python 3.12.
            socket_timeout=None,
            socket_connect_timeout=CONNECT_S,
            **tls,
        )

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to `commands`, which travel together; a refusal is a RedisError in its place.

        BrokerUnavailable when they do not all come within the link's patience. Cancelled or not, no later reader gets
        a reply that was meant for this one: the connection is closed.
        """
        if self._closed:
            raise BrokerUnavailable(f"The broker was closed; it was Redis at {self.where}")
        try:
            async with asyncio.timeout(self._patience_s):
                # Not the client's pipeline: what that does for others was a third of what a command cost here.
                connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
                try:
                    await connection.send_packed_command(connection.pack_commands(commands))
                    return [await _reply(connection) for _ in commands]
                finally:
                    await self._pool.release(connection)
        except (RedisError, OSError) as error:  # a TimeoutError is an OSError
            reason = str(error) or f"no answer within {self._patience_s:g} s"
            raise BrokerUnavailable(f"Redis at {self.where} is not available: {reason}") from error

    async def close(self) -> None:
        """Let go of the connections."""
        self._closed = True
        with suppress(RedisError, OSError):
            async with asyncio.timeout(LET_GO_S):
                await self._pool.aclose()


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refusal:
        return refusal


def granted(reply: Any) -> Any:
    """`reply`, if it is no refusal. BrokerUnavailable otherwise."""
    if isinstance(reply, RedisError):
        raise BrokerUnavailable(f"Redis refuses: {reply}")
    return reply


def refused(reply: Any, *, because: str = "") -> bool:
    """Whether `reply` is a refusal, for that reason if one is given."""
    return isinstance(reply, RedisError) and str(reply).startswith(because)
