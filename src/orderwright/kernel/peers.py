"""The other services, as one service sees them: somebody to ask.

A peer is an ASGI application. In one process it is the service's own; otherwise it is a small one that passes the
request on over HTTP. Who asks does not see the difference. Invariant: peers are asked for what they know, never made
to do an order's work; that goes through events.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec
import structlog
from starlette.types import ASGIApp, Message

from orderwright.kernel import context
from orderwright.kernel.clock import Clock
from orderwright.kernel.edge import OVERLOADED, PEER_HEADER
from orderwright.kernel.errors import Unavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.resilience import Breaker, BreakerState, call
from orderwright.kernel.telemetry import Metrics

log = structlog.get_logger(__name__)

ASK_TIMEOUT_S = 3.0
FAULT_OF_ONE = "orderwright.fault_of_one"
"""In a request's ASGI state: its failure was that of one replica that is not well, while others are.

It says nothing of the service, so no breaker in front of the service counts it.
"""
UNCOUNTED = frozenset({FAULT_OF_ONE, OVERLOADED})
"""What in that state keeps a failure from counting, for every breaker.

Were refusals for want of room counted, a service that does all it can would be left alone for seconds.
"""
OPENNESS = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 1.0}


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What a peer answered."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON; decimals come as text in answers, so nothing is lost."""
        return msgspec.json.decode(self.body)


class Peers:
    """Finds the other services and asks them, each behind its own breaker."""

    def __init__(
        self,
        locate: Callable[[str], ASGIApp],
        clock: Clock,
        ids: Ids,
        *,
        caller: str = "",
        metrics: Metrics | None = None,
    ) -> None:
        self.service_token: Callable[[], Awaitable[str]] | None = None
        """Makes the token that this service shows to the others; set when the service is assembled."""
        self._locate = locate
        self._clock = clock
        self._ids = ids
        self._caller = caller
        self._metrics = metrics or Metrics()
        self._breakers: dict[str, Breaker] = {}

    def app(self, service: str) -> ASGIApp:
        """The ASGI application that is, or leads to, `service`."""
        return self._locate(service)

    def breaker(self, service: str) -> Breaker:
        """The breaker in front of `service`."""
        if service not in self._breakers:
            self._breakers[service] = Breaker(
                service, clock=self._clock, on_change=self._tell, on_retry=self._count_retry
            )
        return self._breakers[service]

    async def ask(
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: str = "",
        json: Any = None,
        safe: bool | None = None,
        anonymous: bool = False,
    ) -> PeerAnswer:
        """Ask `service`. Unavailable when it does not answer, or answers that it cannot.

        `path` and `query` are percent-encoded. `safe` says that asking twice is harmless (by default: GET); only then
        is a failed call tried again.
        """
        headers = {"content-type": "application/json", "accept": "application/json"}
        headers[PEER_HEADER.lower()] = self._caller
        if not anonymous and self.service_token is not None:
            headers["authorization"] = f"Bearer {await self.service_token()}"
        if (request := context.current.get()) is not None:
            headers["x-request-id"] = request.request_id
            headers["traceparent"] = request.traceparent
        body = b"" if json is None else msgspec.json.encode(json, enc_hook=str)

        state: dict[str, Any] = {}

        async def attempt() -> PeerAnswer:
            state.clear()
            answer = await request_once(
                self.app(service), method, path, query=query, headers=headers, body=body, state=state
            )
            if answer.status >= 500:
                raise Unavailable(f"The {service} service cannot answer at the moment")
            return answer

        return await call(
            attempt,
            breaker=self.breaker(service),
            timeout_s=ASK_TIMEOUT_S,
            clock=self._clock,
            ids=self._ids,
            retryable=method == "GET" if safe is None else safe,
            excused=lambda: not UNCOUNTED.isdisjoint(state),
        )

    def _tell(self, service: str, state: BreakerState) -> None:
        self._metrics.breakers_open.labels(self._caller, service).set(OPENNESS[state])
        tell = log.warning if state is BreakerState.OPEN else log.info
        tell("breaker_changed", caller=self._caller, service=service, state=state.value)

    def _count_retry(self, service: str) -> None:
        self._metrics.retries.labels(service).inc()


async def request_once(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    query: str = "",
    headers: Mapping[str, str],
    body: bytes,
    state: dict[str, Any] | None = None,
) -> PeerAnswer:
    """One request to an ASGI application, its answer collected; `state` gets what the application leaves there."""
    status = 0
    chunks: list[bytes] = []
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            chunks.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()]
        + [(b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {} if state is None else state,
    }
    outer = context.current.get()
    token = context.current.set(outer)
    try:
        await app(scope, receive, send)
    finally:
        context.current.reset(token)
    return PeerAnswer(status, b"".join(chunks))
