"""A TCP proxy that stands before a server and can be cut, frozen or told to speak TLS, to see what clients do."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Passes bytes on in both directions, as long as it is let."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self._upstream = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()

    def cut(self) -> None:
        """End every connection at once, as a network does: without a word."""
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Pass nothing on from now, on any connection, old or new; none is ended."""
        self._open.clear()

    def forget(self) -> None:
        """Pass nothing on of the connections there are, as if a firewall had forgotten them; new ones are served."""
        self._open, forgotten = asyncio.Event(), self._open
        self._open.set()
        forgotten.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        opened = self._open
        try:
            await opened.wait()
            there_reader, there_writer = await asyncio.open_connection(*self._upstream)
            self._writers |= {writer, there_writer}
            await asyncio.gather(self._pass(reader, there_writer, opened), self._pass(there_reader, writer, opened))
        except OSError:
            return
        finally:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: asyncio.Event) -> None:
        try:
            while data := await reader.read(65536):
                await opened.wait()
                writer.write(data)
                await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


@asynccontextmanager
async def proxy(host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy on a port of 127.0.0.1 before `host:port`; with `tls` it speaks TLS to its clients."""
    made = Proxy(host, port)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(made.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
