"""One replica of a service: the connections to it, and what is known of how it is.

Invariants: what one replica does to its connections never takes those of another. Streams and checks have connections
of their own, so that no number of open streams keeps a request from being sent, or a well replica from being found so.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx2

from orderwright.kernel.addressing import Origin

MAX_CONNECTIONS = 200
IDLE_S = 3.0
"""Uvicorn closes what was idle for 5 s; who closes first never sends a request into a closing connection."""
READY = "/ready"


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

    async def note(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpcore for each step of a request."""
        if event == "connection.connect_tcp.complete":
            self.connected = True
        elif event == "http11.send_request_headers.complete":
            self.sent = True
        elif event == "http11.send_request_headers.failed":
            # A connection that was already broken takes nothing; whatever else stopped it, some may have gone.
            self.sent = type(info["exception"]).__name__ != "WriteError"


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
        self._url = httpx2.URL(scheme=origin.scheme, host=ip, port=origin.port, path=origin.path or "/")
        self._extensions = {
            "timeout": {"connect": connect_s, "read": None, "write": None, "pool": None},
            # The certificate is the name's, and not the machine's.
            "sni_hostname": origin.host,
        }
        self._calls = httpx2.AsyncHTTPTransport(
            verify=tls,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=IDLE_S
            ),
        )
        self._singles = httpx2.AsyncHTTPTransport(
            verify=tls, trust_env=False, limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        )

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
    ) -> httpx2.Response:
        """Send a request; answers when the answer begins. `lasts` for one that stays open."""
        request = httpx2.Request(
            method,
            self._url.copy_with(raw_path=self.origin.path.encode() + target),
            headers=[(b"host", self.origin.authority.encode()), *headers],
            content=body,
            extensions={**self._extensions, "trace": trip.note},
        )
        try:
            return await (self._singles if lasts else self._calls).handle_async_request(request)
        except AttributeError as error:
            if error.name != "getpeername":
                raise
            # anyio asks for the address of a connection that its peer ended as soon as it was made, and uvloop has
            # nothing to give. Nothing was sent.
            raise httpx2.ConnectError("The connection ended as soon as it was made", request=request) from error

    async def ask_ready(self) -> int:
        """The status of its /ready, asked on a new connection, so that one that lets in nobody new is found out."""
        response = await self.send("GET", READY.encode(), (), b"", Trip(), lasts=True)
        await response.aclose()
        return response.status_code

    async def close(self) -> None:
        """Let go of the connections."""
        if self.check is not None:
            self.check.cancel()
            await asyncio.wait([self.check])
        await self._calls.aclose()
        await self._singles.aclose()
