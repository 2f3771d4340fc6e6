"""Passes a request on to the service that it is for, and the answer back, unbuffered.

Invariants: a request that may change something is sent once, whatever happens; a safe one is tried once more, and only
while the client has seen nothing of an answer. A service that keeps failing is left alone by its breaker.
"""

import asyncio
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderwright.gateway.routes import API
from orderwright.kernel import context
from orderwright.kernel.errors import BusinessError, Unavailable
from orderwright.kernel.peers import Peers
from orderwright.kernel.resilience import Breaker

SAFE_METHODS = frozenset({"GET", "HEAD"})
STREAMS = ("/stream",)
REPLACED = frozenset(
    {b"x-forwarded-for", b"x-request-id", b"traceparent", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded"}
)
SECURITY_HEADERS: Sequence[tuple[bytes, bytes]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Proxy:
    """The way to the services."""

    def __init__(self, peers: Peers, timeout_s: float) -> None:
        self._peers = peers
        self._timeout_s = timeout_s

    def breakers(self, services: Sequence[str]) -> list[Breaker]:
        """The breakers in front of these services."""
        return [self._peers.breaker(service) for service in services]

    async def forward(
        self,
        service: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        address: str,
        extra: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Have `service` answer. Unavailable when it does not, and nothing has been answered yet."""
        answer = _Answer(send, [*SECURITY_HEADERS, *extra], private=_has_token(scope))
        attempts = 2 if scope["method"] in SAFE_METHODS else 1
        breaker = self._peers.breaker(service)
        for attempt in range(1, attempts + 1):
            era = breaker.enter()
            try:
                await self._once(self._peers.app(service), _inner(scope, address), receive, answer)
            except Unavailable:
                breaker.failed(era)
                if answer.begun or attempt == attempts or not breaker.take_retry_token():
                    raise
                continue
            except BusinessError:
                breaker.succeeded(era)
                raise
            except asyncio.CancelledError:
                breaker.abandoned(era)
                raise
            except BaseException:
                breaker.failed(era)
                raise
            if answer.failed:
                breaker.failed(era)
            else:
                breaker.succeeded(era)
            return

    async def _once(self, app: ASGIApp, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        timeout_s = None if scope["path"].endswith(STREAMS) else self._timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await app(scope, receive, answer.send)
        except TimeoutError:
            raise Unavailable(f"No answer within {timeout_s} s; repeat it with the same Idempotency-Key") from None


class _Answer:
    """An answer on its way to the client."""

    def __init__(self, send: Send, extra: Sequence[tuple[bytes, bytes]], *, private: bool) -> None:
        self.begun = False
        self.failed = False
        self._send = send
        self._extra = extra
        self._private = private

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self.failed = message["status"] >= 500
            names = {name.lower() for name, _ in message.get("headers", ())}
            headers = [*message.get("headers", ()), *self._extra]
            if self._private and b"cache-control" not in names:
                headers.append((b"cache-control", b"no-store"))
            # The gateway's own edge says the request's id.
            headers = [(name, value) for name, value in headers if name.lower() != b"x-request-id"]
            message = {**message, "headers": headers}
        await self._send(message)


def _inner(scope: Scope, address: str) -> Scope:
    """The request as the service sees it: below its own root, with what was found out here in its headers."""
    request = context.current.get()
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in REPLACED]
    headers.append((b"x-forwarded-for", address.encode("latin-1", "replace")))
    if request is not None:
        headers.append((b"x-request-id", request.request_id.encode()))
        headers.append((b"traceparent", request.traceparent.encode()))
    raw_path = scope.get("raw_path") or scope["path"].encode()
    return {
        **scope,
        "path": scope["path"].removeprefix(API),
        "raw_path": raw_path.removeprefix(API.encode()),
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "root_path": "",
        "state": {},
    }


def _has_token(scope: Scope) -> bool:
    return any(name == b"authorization" for name, _ in scope["headers"])
