"""Replicas of a service for tests: small servers on real sockets that can be made to fail in every way.

A `Machine` speaks HTTP by itself, so that it can also break off, hang, or close a connection at any point.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from orderwright.kernel.addressing import LookUp, look_up
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.edge import OVERLOADED_HEADER
from orderwright.kernel.httppeer import HttpPeer
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.peers import PeerAnswer, request_once
from orderwright.kernel.replicas import Patience
from orderwright.kernel.telemetry import Metrics

PATIENCE = Patience(doubt_after_s=0.05, check_again_s=0)
HTTP = "HTTP/1.1 {} x\r\nContent-Length: {}\r\nRetry-After: 7\r\n\r\n"
FULL = f"HTTP/1.1 503 x\r\n{OVERLOADED_HEADER}: true\r\nContent-Length: 4\r\n\r\nfull"


class Mood(StrEnum):
    """What a machine does with requests."""

    WELL = "well"
    FAILING = "answers 500 and says that it is ready"
    NOT_READY = "answers 503, also when asked how it is"
    BUSY = "answers 503 and says that it is ready"
    FULL = "has no room for requests, says so, and says that it is ready"
    RESETTING = "breaks the connection off when it was asked, and says that it is ready"
    SLOW = "does not answer requests, and says that it is ready"
    DEAF = "answers requests, and does not say how it is"
    HANGING = "does not answer at all"
    CLOSING_OLD = "closes a connection that served before, when it is asked on it"
    HALVING = "breaks off in the middle of its answers"
    SLAMMING = "ends connections as soon as they are made"
    BABBLING = "answers what is no HTTP"


class Machine:
    """One replica: where it listens, what it was asked, and its mood."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.mood = Mood.WELL
        self._tls = tls
        self.heard: list[str] = []
        """Method and path of each request, beside those that ask how it is."""
        self.headers: list[dict[str, str]] = []
        """The headers of each."""
        self.connections = 0
        """How many were ever made, beside those for checks."""
        self.host, self.port = "127.0.0.1", 0
        self._lines: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        self._killed = asyncio.Event()
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen."""
        self._killed.clear()
        self._server = await asyncio.start_server(self._serve, host, self.port or port, ssl=self._tls)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def kill(self) -> None:
        """Go away at once, with all connections."""
        if self._server is not None:
            self._server.close()
            self._killed.set()
            self.go_on()
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

    def pause(self) -> None:
        """Answer nobody until `go_on`."""
        self._goes_on.clear()

    def go_on(self) -> None:
        """Answer again, also those who wait."""
        self._goes_on.set()

    @property
    def hosts(self) -> list[str]:
        """The Host of each request."""
        return [headers["host"] for headers in self.headers]

    @property
    def is_connected(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._lines)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mood is Mood.SLAMMING:
            writer.transport.abort()
            return
        self._lines[writer] = asyncio.current_task()
        served = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = head.split(" ", 2)
                if path == "/ready":
                    await self._say_how_it_is(writer)
                    continue
                self.heard.append(f"{method} {path}")
                self.headers.append(headers)
                self.connections += not served
                await self._answer(writer, served)
                served += 1
        self._lines.pop(writer)
        writer.close()

    async def _say_how_it_is(self, writer: asyncio.StreamWriter) -> None:
        if self.mood in {Mood.HANGING, Mood.DEAF}:
            await self._killed.wait()
        else:
            writer.write(HTTP.format(503 if self.mood is Mood.NOT_READY else 200, 0).encode())

    async def _answer(self, writer: asyncio.StreamWriter, served: int) -> None:
        await self._goes_on.wait()
        if self.mood in {Mood.HANGING, Mood.SLOW}:
            await self._killed.wait()
        elif self.mood is Mood.RESETTING:
            writer.transport.abort()
        elif self.mood is Mood.FULL:
            writer.write(FULL.encode())
        elif self.mood is Mood.CLOSING_OLD and served:
            writer.close()
        elif self.mood is Mood.BABBLING:
            writer.write(b"What?\r\n\r\n")
        else:
            status = {Mood.FAILING: 500, Mood.NOT_READY: 503, Mood.BUSY: 503}.get(self.mood, 200)
            writer.write(HTTP.format(status, 4).encode() + (b"fo" if self.mood is Mood.HALVING else b"four"))
            await writer.drain()
            if self.mood is Mood.HALVING:
                writer.close()


class Fleet:
    """A service of several machines, and a peer that leads to them: by their addresses, or by a name at one port."""

    def __init__(self, hosts: int | Sequence[str], *, name: str | None = None, look_up: LookUp = look_up) -> None:
        self._hosts = ["127.0.0.1"] * hosts if isinstance(hosts, int) else hosts
        self.machines = [Machine() for _ in self._hosts]
        self.clock = FrozenClock()
        self.ids = SeededIds()
        self.metrics = Metrics()
        self._name = name
        self._look_up = look_up

    @contextlib.asynccontextmanager
    async def running(self, patience: Patience = PATIENCE) -> AsyncIterator["Fleet"]:
        """All machines listen."""
        async with asyncio.timeout(20), contextlib.AsyncExitStack() as stack:
            for host, machine in zip(self._hosts, self.machines, strict=True):
                await machine.open(host, self.machines[0].port if self._name else 0)
                stack.push_async_callback(machine.kill)
            addresses = ",".join(machine.url for machine in self.machines)
            self.peer = HttpPeer(
                "order",
                addresses if self._name is None else f"http://{self._name}:{self.machines[0].port}",
                clock=self.clock,
                ids=self.ids,
                metrics=self.metrics,
                look_up=self._look_up,
                patience=patience,
            )
            stack.push_async_callback(self.peer.close)
            yield self

    async def ask(
        self, method: str = "GET", *, state: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> PeerAnswer:
        """Send a request."""
        return await request_once(self.peer, method, "/orders", headers=headers or {}, body=b"", state=state)

    async def asked_until(self, condition: Callable[[], bool]) -> None:
        """Send reads until `condition` holds; what runs beside them has its time in between."""
        while not condition():
            await self.ask()
            await asyncio.sleep(0.005)

    def counted(self, name: str, **labels: str) -> float:
        """What a metric stands at for the service."""
        return self.metrics.registry.get_sample_value(name, {"service": "order", **labels}) or 0.0

    @property
    def left_out(self) -> float:
        """How many replicas the metric says are left out."""
        return self.counted("orderwright_replicas_left_out")


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until `condition` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
