"""A TCP proxy that stands before a server and can do to its clients what networks do.

It can be cut, frozen, slowed down and told to speak TLS; and it can strike at one chosen moment, such as when a COMMIT
has gone through and its answer has not.

Invariant: what is passed on is what came, in order; a fault ends a connection or keeps it waiting, it alters no byte.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

ANSWER_IS_LOST_S = 0.05
"""So long a request is given to be carried out before its connection is reset, unanswered."""


class Act(Enum):
    """What becomes of some bytes."""

    PASS = "they go on"
    TEAR = "half of them go on, then the connection is reset"
    SWALLOW = "they do not go on, and the connection is reset"
    UNANSWERED = "they go on, their answer does not, and the connection is reset"


@dataclass(eq=False)
class Wire:
    """One client's connection; a watcher may keep notes on it."""

    ends: list[asyncio.StreamWriter] = field(default_factory=list)
    deaf: bool = False
    """Nothing more goes to the client."""
    notes: set[str] = field(default_factory=set)


Watcher = Callable[[Wire, bytes, bool], Act]
"""Is shown the connection, what came, and whether it goes to the server; says what becomes of it."""


class Proxy:
    """Passes bytes on in both directions, as long as it is let."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.delay_s = 0.0
        """How long everything takes that is passed on."""
        self.watcher: Watcher | None = None
        self._upstream = (host, port)
        self._wires: set[Wire] = set()
        self._open = asyncio.Event()
        self._open.set()

    def cut(self) -> None:
        """End every connection at once, as a network does: without a word."""
        for wire in list(self._wires):
            for end in wire.ends:
                end.transport.abort()

    def freeze(self) -> None:
        """Pass nothing on from now, on any connection, old or new; none is ended."""
        self._open.clear()

    def thaw(self) -> None:
        """Pass on again what was held back."""
        self._open.set()

    def forget(self) -> None:
        """Pass nothing on of the connections there are, as if a firewall had forgotten them; new ones are served."""
        self._open, forgotten = asyncio.Event(), self._open
        self._open.set()
        forgotten.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        opened, wire = self._open, Wire([writer])
        self._wires.add(wire)
        try:
            await opened.wait()
            there_reader, there_writer = await asyncio.open_connection(*self._upstream)
            wire.ends.append(there_writer)
            await asyncio.gather(
                self._pass(wire, reader, there_writer, opened, up=True),
                self._pass(wire, there_reader, writer, opened, up=False),
            )
        except OSError:
            return
        finally:
            self._wires.discard(wire)
            for end in wire.ends:
                end.transport.abort()

    async def _pass(
        self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: asyncio.Event, *, up: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await opened.wait()
                if wire.deaf and not up:
                    continue
                act = Act.PASS if self.watcher is None else self.watcher(wire, data, up)
                if act is not Act.PASS:
                    return await _strike(wire, writer, data, act)
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


async def _strike(wire: Wire, writer: asyncio.StreamWriter, data: bytes, act: Act) -> None:
    if act is Act.UNANSWERED:
        wire.deaf = True
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(ANSWER_IS_LOST_S)
    elif act is Act.TEAR:
        writer.write(data[: max(1, len(data) // 2)])
        await writer.drain()
    for end in wire.ends:
        _reset(end)


def _reset(end: asyncio.StreamWriter) -> None:
    """End the connection with a reset instead of a farewell."""
    its = end.get_extra_info("socket")
    if its is not None and not end.transport.is_closing():
        its.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()


@asynccontextmanager
async def proxy(host: str, port: int, tls: ssl.SSLContext | None = None, *, at: int = 0) -> AsyncIterator[Proxy]:
    """A proxy on a port of 127.0.0.1 (`at`, or any) before `host:port`; with `tls` it speaks TLS to its clients."""
    made = Proxy(host, port)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(made.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", at, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
