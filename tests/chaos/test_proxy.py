"""What the proxy does at one chosen moment, seen from both ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from chaos.links import answers, at_first, commits, heal
from tools.proxy import Act, Proxy, Wire, proxy

BEGIN, READ, COMMIT = b"Q....BEGIN;\0", b"Q....BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;\0", b"Q....COMMIT;\0"
ANSWER = b"done."


class Server:
    """Answers whatever it hears, and keeps it."""

    def __init__(self) -> None:
        self.heard = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1000):
                self.heard += data
                writer.write(ANSWER)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Server, Proxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A server, a proxy before it, and a client that has come in by it."""
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        async with proxy("127.0.0.1", port) as link:
            reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
            try:
                yield server, link, reader, writer
            finally:
                writer.transport.abort()
    finally:
        listening.close()


async def test_a_commit_is_carried_out_and_its_answer_is_lost() -> None:
    async with connected() as (server, link, reader, writer):
        struck: list[bool] = []
        link.watcher = at_first(commits, Act.UNANSWERED, lambda: struck.append(True))
        writer.write(BEGIN)
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        writer.write(COMMIT)
        with pytest.raises(ConnectionResetError):
            await reader.read(100)
        assert server.heard == BEGIN + COMMIT
        assert struck == [True]


async def test_a_commit_that_is_swallowed_is_never_heard() -> None:
    async with connected() as (server, link, reader, writer):
        link.watcher = at_first(commits, Act.SWALLOW, lambda: None)
        writer.write(COMMIT)
        with pytest.raises(ConnectionResetError):
            await reader.read(100)
        assert server.heard == b""


async def test_an_answer_is_torn_in_its_middle() -> None:
    async with connected() as (_, link, reader, writer):
        link.watcher = at_first(answers, Act.TEAR, lambda: None)
        writer.write(b"question")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)) as lost:
            await reader.readexactly(len(ANSWER))
        # A reset may overtake what was sent before it; what came is at most the half.
        assert len(getattr(lost.value, "partial", b"")) <= len(ANSWER) // 2


def test_the_commit_of_a_transaction_that_only_reads_is_let_be() -> None:
    wire = Wire()
    assert not commits(wire, READ, True)
    assert not commits(wire, COMMIT, True)
    assert not commits(wire, BEGIN, True)
    assert commits(wire, COMMIT, True)
    assert not commits(wire, COMMIT, False)


async def test_a_silent_link_goes_on_where_it_stopped_once_it_is_healed() -> None:
    async with connected() as (_, link, reader, writer):
        link.freeze()
        writer.write(b"question")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.2)
        heal(link)
        assert await asyncio.wait_for(reader.readexactly(len(ANSWER)), 5) == ANSWER


async def test_a_connection_that_is_forgotten_stays_silent_and_a_new_one_works() -> None:
    async with connected() as (_, link, reader, writer):
        writer.write(b"question")
        await reader.readexactly(len(ANSWER))
        link.forget()
        writer.write(b"question")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.2)
        hears, second = await asyncio.open_connection("127.0.0.1", link.port)
        second.write(b"question")
        assert await asyncio.wait_for(hears.readexactly(len(ANSWER)), 5) == ANSWER
        second.transport.abort()
