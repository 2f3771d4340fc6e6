"""One replica of a service: the connections to it, and what is known of how it is.

Invariants: what one replica does to its connections never takes those of another. Streams and checks have connections
of their own, so that no number of open streams keeps a request from being sent, or a well replica from being found so.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import SimpleNamespace

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from orderwright.kernel.addressing import Origin

MAX_CONNECTIONS = 200
IDLE_S = 3.0
"""Long before the services close what is idle: who closes first never sends a request into a closing connection."""
READY = "/ready"
NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What the client would say by itself; a request is passed on with what it came with."""


class Condition(StrEnum):
    """How a replica is."""

    WELL = "well"
    AILING = "ailing"
    """It answers, but says that it is not ready, or fails what it is asked; asked only when none is well."""
    OUT = "out"
    """It does not answer."""


@dataclass(slots=True)
class Trip:
    """How far a request came, as the connection tells it."""

    connected: bool = False
    """A new connection was made for it."""
    sent: bool = False
    """Some of it may have reached the replica."""


class ConnectionEnded(aiohttp.ClientConnectionError):
    """The connection ended before an answer began."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error) or type(error).__name__)
        self.took_nothing = any(isinstance(one, aiohttp.ClientConnectionResetError) for one in (error, error.__cause__))
        """It had ended before anything of the request was written: headers and body are written in one piece."""


class Replica:
    """Where it is, the requests that it has in hand, and how it is."""

    def __init__(self, origin: Origin, ip: str, tls: ssl.SSLContext, connect_s: float) -> None:
        self.origin = origin
        self.ip = ip
        self.condition = Condition.WELL
        self.faults = 0
        """Failures in a row."""
        self.silences = 0
        """Checks in a row that it did not answer in time."""
        self.answers_given = 0
        self.outstanding = 0
        self.times_left_out = 0
        self.well_since_s = float("-inf")
        self.rest_until_s = float("-inf")
        self.checked_at_s = float("-inf")
        self.check: asyncio.Task[None] | None = None
        """Asks it how it is; while that is not known, others are preferred."""
        self.is_probed = False
        """It is out, as all are, and one request is on its way to see whether it still is."""
        self.times_probed = 0
        self.movable: set[asyncio.Timeout] = set()
        """Requests without an answer yet that may as well be sent to another replica."""
        self.is_gone = False
        """Its name does not lead to it any more."""
        self._tls = tls
        self._connect_s = connect_s
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        """For requests, and for what lasts; made when they are first needed, in the event loop that they belong to."""

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{self.origin.port}"

    @property
    def is_first_choice(self) -> bool:
        """Well, and nobody doubts it."""
        return self.condition is Condition.WELL and self.check is None

    @property
    def answers(self) -> bool:
        """Whether it makes sense to ask it."""
        return self.condition is not Condition.OUT

    async def send(
        self,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        trip: Trip,
        *,
        lasts: bool,
    ) -> aiohttp.ClientResponse:
        """Send a request; answers when the answer begins. `lasts` for one that stays open.

        aiohttp.ClientError when there is none; ValueError for a target or a header that HTTP does not know.
        """
        path, _, query = target.decode("latin-1").partition("?")
        if not path.startswith("/"):
            # Behind the port it would be read as the rest of the host.
            raise ValueError("A target begins with a slash")
        said = CIMultiDict([("Host", self.origin.authority)])
        said.extend((name.decode("latin-1"), _text(value)) for name, value in headers)
        try:
            return await self._session(lasts=lasts).request(
                method,
                URL.build(
                    scheme=self.origin.scheme,
                    host=self.ip,
                    port=self.origin.port,
                    path=self.origin.path + path,
                    query_string=query,
                    encoded=True,
                ),
                headers=said,
                data=body or None,
                allow_redirects=False,
                # The certificate is the name's, and not the machine's.
                server_hostname=self.origin.host,
                trace_request_ctx=trip,
            )
        except ConnectionEnded as error:
            if error.took_nothing:
                trip.sent = False
            raise

    async def ask_ready(self) -> int:
        """The status of its /ready, asked on a new connection, so that one that lets in nobody new is found out."""
        response = await self.send("GET", READY.encode(), (), b"", Trip(), lasts=True)
        response.close()
        return response.status

    async def close(self) -> None:
        """Let go of the connections."""
        if self.check is not None:
            self.check.cancel()
            await asyncio.wait([self.check])
        for session in self._sessions.values():
            await session.close()

    def _session(self, *, lasts: bool) -> aiohttp.ClientSession:
        if lasts not in self._sessions:
            limit, idle_s = (0, None) if lasts else (MAX_CONNECTIONS, IDLE_S)
            self._sessions[lasts] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls, limit=limit, force_close=lasts, keepalive_timeout=idle_s, use_dns_cache=False
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=NOT_ADDED,
                middlewares=(_once,),
                trace_configs=[_noting()],
            )
        return self._sessions[lasts]


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself when its connection ends: whether it may be, others know."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError) as error:
        raise ConnectionEnded(error) from error


def _noting() -> aiohttp.TraceConfig:
    """Note in a request's Trip how far it came."""

    async def connected(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.connected = True

    async def sent(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.sent = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(connected)
    trace.on_request_headers_sent.append(sent)
    return trace


def _text(value: bytes) -> str:
    """The text that aiohttp, which writes UTF-8, sends as these bytes; what is no UTF-8 was Latin-1 once."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
