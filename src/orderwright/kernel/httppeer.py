"""A peer behind a socket: an ASGI application that passes each request on over HTTP and streams the answer back."""

from typing import Final

import httpx2
from starlette.types import Message, Receive, Scope, Send

from orderwright.kernel.errors import Unavailable

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"host",
    }
)
"""Headers that belong to one connection (RFC 9110, section 7.6.1), and the host, which is the peer's own."""
CONNECT_TIMEOUT_S = 2.0
MAX_CONNECTIONS = 200


class HttpPeer:
    """Passes requests on to `base_url`."""

    def __init__(self, service: str, base_url: str) -> None:
        self.base_url = base_url
        self._service = service
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS),
            follow_redirects=False,
            trust_env=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await whole_body(receive)
        if body is None:
            return
        url = httpx2.URL(scope["raw_path"].decode()).copy_with(query=scope["query_string"] or None)
        request = self._client.build_request(
            scope["method"],
            url,
            headers=[(name, value) for name, value in scope["headers"] if name.lower() not in HOP_BY_HOP],
            content=body,
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.TransportError as error:
            raise Unavailable(f"The {self._service} service does not answer") from error
        try:
            await send(_start(response))
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()


async def whole_body(receive: Receive) -> bytes | None:
    """A request's body, which the edge keeps small; None when the client went away before all of it had come."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _start(response: httpx2.Response) -> Message:
    headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in HOP_BY_HOP]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}
