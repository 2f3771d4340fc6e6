"""Replicas of a service for tests: small servers on real sockets that can be made to fail in every way.

A `Machine` speaks HTTP by itself, so that it can also break off, hang, or close a connection at any point.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Any

import msgspec

from orderwright.kernel.addressing import LookUp, look_up
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.httppeer import HttpPeer
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.peers import PeerAnswer, request_once
from orderwright.kernel.replicas import Patience
from orderwright.kernel.telemetry import Metrics

PATIENCE = Patience(doubt_after_s=0.05, check_again_s=0)
HTTP = "HTTP/1.1 {} x\r\nContent-Length: {}\r\nRetry-After: 7\r\n\r\n"


class Mood(StrEnum):
    """What a machine does with requests."""

    WELL = "well"
    FAILING = "answers 500 and says that it is ready"
    NOT_READY = "answers 503, also when asked how it is"
    BUSY = "answers 503 and says that it is ready"
    RESETTING = "breaks the connection off when it was asked, and says that it is ready"
    SLOW = "does not answer requests, and says that it is ready"
    HANGING = "does not answer at all"
    HALVING = "breaks off in the middle of its answers"


class Machine:
    """One replica: where it listens, what it was asked, and its mood."""

    def __init__(self) -> None:
        self.mood = Mood.WELL
        self.heard: list[str] = []
        """Method and path of each request, beside those that ask how it is."""
        self.checks = 0
        self.connections = 0
        self.host, self.port = "127.0.0.1", 0
        self._lines: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        self._killed = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen."""
        self._killed.clear()
        self._server = await asyncio.start_server(self._serve, host, self.port or port)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def kill(self) -> None:
        """Go away at once, with all connections."""
        if self._server is not None:
            self._server.close()
            self._killed.set()
            tasks = [task for task in self._lines.values() if task is not None]
            for writer in self._lines:
                writer.transport.abort()
            if tasks:
                await asyncio.wait(tasks)
            await self._server.wait_closed()
            self._server = None

    def close_idle(self) -> None:
        """Close all connections, as a server does that found them idle for too long."""
        for writer in self._lines:
            writer.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._lines[writer] = asyncio.current_task()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                await reader.readexactly(int(length[0].partition(":")[2]) if length else 0)
                method, path, _ = head.split(" ", 2)
                await self._answer(method, path, writer)
        self._lines.pop(writer)
        writer.close()

    async def _answer(self, method: str, path: str, writer: asyncio.StreamWriter) -> None:
        is_check = path == "/ready"
        self.checks += is_check
        if not is_check:
            self.heard.append(f"{method} {path}")
        if self.mood is Mood.HANGING or (self.mood is Mood.SLOW and not is_check):
            await self._killed.wait()
            return
        if self.mood is Mood.RESETTING and not is_check:
            writer.transport.abort()
            return
        status = {Mood.FAILING: 500, Mood.NOT_READY: 503, Mood.BUSY: 503}.get(self.mood, 200)
        body = msgspec.json.encode({"port": self.port, "host": self.host})
        writer.write(HTTP.format(200 if is_check and self.mood is not Mood.NOT_READY else status, len(body)).encode())
        if self.mood is Mood.HALVING and not is_check:
            writer.write(body[:3])
            await writer.drain()
            writer.transport.abort()
            return
        writer.write(body)
        await writer.drain()


class Fleet:
    """A service of several machines, and a peer that leads to them."""

    def __init__(self, count: int, *, addresses: str | None = None, look_up: LookUp = look_up) -> None:
        self.machines = [Machine() for _ in range(count)]
        self.clock = FrozenClock()
        self.metrics = Metrics()
        self._addresses = addresses
        self._look_up = look_up

    @contextlib.asynccontextmanager
    async def running(self, patience: Patience = PATIENCE) -> AsyncIterator["Fleet"]:
        """All machines listen."""
        async with asyncio.timeout(20), contextlib.AsyncExitStack() as stack:
            for machine in self.machines:
                await machine.open()
                stack.push_async_callback(machine.kill)
            self.peer = HttpPeer(
                "order",
                self._addresses or ",".join(machine.url for machine in self.machines),
                clock=self.clock,
                ids=SeededIds(),
                metrics=self.metrics,
                look_up=self._look_up,
                patience=patience,
            )
            stack.push_async_callback(self.peer.close)
            yield self

    async def ask(
        self, method: str = "GET", path: str = "/orders", state: dict[str, Any] | None = None, **headers: str
    ) -> PeerAnswer:
        """Send a request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await request_once(self.peer, method, path, headers=named, body=b"", state=state)

    async def asked_until(self, condition: Callable[[], bool]) -> None:
        """Send reads until `condition` holds; what runs beside them has its time in between."""
        while not condition():
            await self.ask()
            await asyncio.sleep(0.005)

    def counted(self, name: str) -> float:
        """What a metric stands at for the service."""
        return self.metrics.registry.get_sample_value(name, {"service": "order"}) or 0.0

    @property
    def left_out(self) -> float:
        """How many replicas the metric says are left out."""
        return self.counted("orderwright_replicas_left_out")


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until `condition` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
