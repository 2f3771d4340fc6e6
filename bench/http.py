"""An HTTP/1.1 client that costs next to nothing, so that what is measured is the platform and not its customers.

It knows what the benchmark needs: kept connections to one host, a body and an answer with a Content-Length or chunks.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast

import httptools

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes
    retry_after_s: float | None = None


class _Connection(asyncio.Protocol):
    """One request at a time; the parser calls the `on_…` methods."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._answer: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._retry_after_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._retry_after_s = float(value)

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        status: int = self._parser.get_status_code()
        answer = Answer(status, b"".join(self._pieces), self._retry_after_s)
        if not self._parser.should_keep_alive() and self.transport is not None:
            self.lost = True
            self.transport.close()
        self._pieces, self._retry_after_s = [], None
        self._parser = httptools.HttpResponseParser(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    async def ask(self, request: bytes) -> Answer:
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


class Client:
    """As many connections to one host as there are requests at the same time."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._idle: deque[_Connection] = deque()

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, token: str = "", headers: str = "", timeout_s: float = 60
    ) -> Answer:
        """Send a request and wait for the answer. OSError or TimeoutError when none came."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Length: {len(body)}\r\n{headers}"
        )
        if body:
            head += "Content-Type: application/json\r\n"
        if token:
            head += f"Authorization: Bearer {token}\r\n"
        connection = await self._connection()
        async with asyncio.timeout(timeout_s):
            answer = await connection.ask(f"{head}\r\n".encode() + body)
        if not connection.lost:
            self._idle.append(connection)
        return answer

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost:
                return connection
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, made = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        return made

    def close(self) -> None:
        """Close what is open."""
        for connection in self._idle:
            if connection.transport is not None:
                connection.transport.close()
