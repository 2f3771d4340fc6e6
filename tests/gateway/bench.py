"""A bench for the gateway: the real one, with a small FastAPI application in the place of each service.

A service of the bench answers with what it was asked, or does what a test tells it to; identity publishes a real key.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Message

from orderwright.gateway.manifest import Gateway, assemble
from orderwright.gateway.routes import SERVICES
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.peers import Peers
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import Metrics
from orderwright.kernel.testing import TestKeys

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
Reaction = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Heard:
    """A request as a service got it."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[str, str]]
    body: bytes
    client: str

    def header(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]


class SmallService:
    """Answers 200 with its name and the path, unless it was told what to do next."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[Heard] = []
        self.next: deque[Response | Reaction] = deque()
        self.app = FastAPI(openapi_url=None)
        self.app.add_api_route("/{path:path}", self._answer, methods=METHODS)

    def will(self, *answers: Response | Reaction) -> None:
        """What to do with the next requests."""
        self.next.extend(answers)

    async def _answer(self, request: Request) -> Response:
        self.heard.append(
            Heard(
                request.method,
                request.scope["path"],
                request.scope["raw_path"],
                request.scope["query_string"],
                [(name.decode(), value.decode()) for name, value in request.headers.raw],
                await request.body(),
                request.client.host if request.client else "",
            )
        )
        if not self.next:
            return Response(
                msgspec.json.encode({"service": self.name, "path": request.scope["path"]}),
                media_type="application/json",
            )
        what = self.next.popleft()
        return what if isinstance(what, Response) else await what(request)


@dataclass(frozen=True, slots=True)
class Got:
    """An answer as a client gets it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def problem(self) -> str:
        """The name of the problem that it tells of."""
        assert dict(self.headers)["content-type"] == "application/problem+json", self
        return str(self.json["type"]).rpartition("/")[2]

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """A header that may be there once."""
        values = self.all(name)
        assert len(values) < 2, (name, values)
        return values[0] if values else None


@dataclass
class Line:
    """An open connection of one request: what the client sends, and each message as it comes back."""

    incoming: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    outgoing: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    read_slowly: Callable[[], Awaitable[None]] | None = None

    async def send(self, message: Message) -> None:
        if self.read_slowly is not None:
            await self.read_slowly()
        await self.outgoing.put(message)

    def say(self, body: bytes, *, more: bool = False) -> None:
        """A piece of the body."""
        self.incoming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def hang_up(self) -> None:
        """The client goes away."""
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def next(self) -> Message:
        """The next message of the answer."""
        async with asyncio.timeout(5):
            return await self.outgoing.get()

    def collected(self) -> Got:
        """The whole answer."""
        start: Message | None = None
        body = b""
        while not self.outgoing.empty():
            message = self.outgoing.get_nowait()
            if message["type"] == "http.response.start":
                assert start is None, "an answer began twice"
                start = message
            body += message.get("body", b"")
        assert start is not None, "there was no answer"
        headers = [(name.decode().lower(), value.decode()) for name, value in start["headers"]]
        return Got(start["status"], headers, body)


class GatewayBench:
    """The gateway and the small services behind it."""

    def __init__(self, apps: Mapping[str, ASGIApp] | None = None) -> None:
        self.clock = FrozenClock()
        self.keys = TestKeys(self.clock)
        self.services = {name: SmallService(name) for name in SERVICES}
        self.apps: dict[str, ASGIApp] = {name: service.app for name, service in self.services.items()}
        self.services["identity"].app.router.routes[:0] = self.keys.identity.routes
        self.apps |= apps or {}
        self.peers = Peers(lambda name: self.apps[name], self.clock, SeededIds(1))
        self.metrics = Metrics()
        self.gateway: Gateway = assemble(PlatformSettings(), self.peers, self.clock, SeededIds(2), self.metrics)

    def heard(self, service: str) -> list[Heard]:
        """What a service was asked."""
        return self.services[service].heard

    def token(self, caller: str = "customer-1", roles: Sequence[str] = ("customer",)) -> str:
        """A token of somebody's."""
        return self.keys.token(caller, roles)

    async def call(
        self,
        method: str,
        path: str,
        *,
        caller: str | None = "customer-1",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        client: str = "192.0.2.1",
        query: str = "",
        line: Line | None = None,
    ) -> Got:
        """Send a request; with no caller, without a token."""
        if line is None:
            line = Line()
            line.say(body)
        await self.serve(self.scope(method, path, caller, headers, client, query), line)
        return line.collected()

    async def serve(self, scope: dict[str, Any], line: Line) -> None:
        """Have the gateway serve one request as a server would."""
        await self.gateway.app(scope, line.incoming.get, line.send)

    def scope(
        self,
        method: str,
        path: str,
        caller: str | None = "customer-1",
        headers: Sequence[tuple[str, str]] = (),
        client: str = "192.0.2.1",
        query: str = "",
    ) -> dict[str, Any]:
        """A request as a server would hand it over; `path` is as it stands in the request line."""
        fields = [*headers, *([("authorization", f"Bearer {self.token(caller)}")] if caller else [])]
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in fields],
            "client": (client, 40_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
