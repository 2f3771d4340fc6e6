"""Headers: which go on to a service, which come back from it, and what every answer of the gateway carries.

Invariants: what is about one connection stays there; nothing that a client claims passes for what the gateway knows; an
answer to somebody who showed a token, or that may hold one, is kept by no cache unless its service says how.
"""

from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderwright.gateway.routes import READING
from orderwright.kernel.httppeer import HOP_BY_HOP

OF_ONE_CONNECTION = HOP_BY_HOP - {b"host"}
SAID_HERE = frozenset({b"forwarded", b"traceparent", b"x-real-ip", b"x-request-id"})
SAID_HERE_TOO = (b"x-forwarded-", b"x-orderwright-")
"""Request headers that say what only the gateway knows; whatever a client puts there is taken off."""
SAID_BY_OUR_SERVER = frozenset({b"date", b"server", b"x-request-id"})
"""Answer headers that the gateway and its server write themselves; twice would be wrong."""

Fields = list[tuple[bytes, bytes]]


def inward(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """A client's headers that a service gets to see."""
    return [
        (name, value)
        for name, value in _of_the_message(headers)
        if name not in SAID_HERE and not name.startswith(SAID_HERE_TOO)
    ]


def outward(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """A service's headers that the client gets to see."""
    return [(name, value) for name, value in _of_the_message(headers) if name not in SAID_BY_OUR_SERVER]


class FinalHeaders:
    """The layer around everything else, so that also the refusals of the outermost layer are dressed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        private = scope["method"] not in READING or any(name == b"authorization" for name, _ in scope["headers"])

        async def finished(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Referrer-Policy", "no-referrer")
                if private:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, finished)


def _of_the_message(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The headers that are not about one connection only; `Connection` names further ones (RFC 9110, section 7.6.1)."""
    fields = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in fields if name == b"connection" for part in value.split(b",")}
    return [(name, value) for name, value in fields if name not in OF_ONE_CONNECTION | named]
