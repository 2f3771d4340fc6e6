"""Requests between people and services, and between services: lost, slow, answered by nobody.

What a service does with a request happens in its own process; who asked may be gone by then, and may not learn of it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderwright.kernel.errors import Unavailable
from orderwright.kernel.peers import request_once
from tests.simulation.faults import Faults
from tests.simulation.hosts import Host, Process
from tests.simulation.loop import OWNER, SimLoop
from tests.simulation.trace import Trace


class NoAnswerError(Exception):
    """The connection ended without an answer; nobody knows what happened."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    service: str
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body, read."""
        return msgspec.json.decode(self.body) if self.body else None


class Network:
    """Brings requests to whoever is there."""

    def __init__(self, loop: SimLoop, faults: Faults, trace: Trace) -> None:
        self.hosts: list[Host] = []
        self.loop = loop
        self.faults = faults
        self.trace = trace

    async def ask(self, request: Request) -> Answer:
        """Send a request. NoAnswerError when nothing comes back."""
        await self._travel()
        if self.faults.strikes("request lost"):
            self.trace.reach("fault: request lost")
            raise NoAnswerError("The request was lost")
        if request.service == "identity":
            return _identity(request)
        process = self._somebody(request.service)
        if process is None or process.runtime is None:
            raise NoAnswerError(f"{request.service} does not listen")
        serving = self.loop.create_task(_serve(process.runtime.app, request), context=process.context)
        answer = await self._watch(serving)
        await self._travel()
        if self.faults.strikes("answer lost"):
            self.trace.reach("fault: answer lost")
            raise NoAnswerError("The answer was lost")
        return answer

    def _somebody(self, service: str) -> Process | None:
        there = [h.process for h in self.hosts if h.service == service and h.process is not None and h.process.open]
        if not there:
            return None
        return there[0] if len(there) == 1 else self.faults.dice("replica").choice(there)

    async def _watch(self, serving: "asyncio.Task[Answer]") -> Answer:
        """Wait for an answer; who stops waiting hangs up, and the service notices or not."""
        answered: asyncio.Future[None] = self.loop.create_future()

        def finish(_task: "asyncio.Task[Answer]") -> None:
            if not answered.done():
                answered.set_result(None)

        serving.add_done_callback(finish)
        try:
            await answered
        except asyncio.CancelledError:
            if self.faults.dice("hang up").random() < 0.5:
                self.trace.reach("request cancelled while it was handled")
                serving.cancel()
            raise
        if serving.cancelled() or serving.exception() is not None:
            raise NoAnswerError("The service ended before it answered")
        return serving.result()

    async def _travel(self) -> None:
        if self.faults.strikes("network slow"):
            await asyncio.sleep(self.faults.dice("network slow").expovariate(0.5))
        else:
            await asyncio.sleep(0.001)


class PeerDoor:
    """Another service, as an ASGI application that passes each request on through the network."""

    def __init__(self, network: Network, service: str) -> None:
        self._network = network
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive()).get("body", b"")
        owner = OWNER.get()
        if owner is not None and owner.dead:
            raise asyncio.CancelledError
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name != b"content-length"}
        query = scope["query_string"].decode()
        path = scope["raw_path"].decode()
        try:
            answer = await self._network.ask(Request(self._service, scope["method"], path, query, headers, body))
        except NoAnswerError as error:
            raise Unavailable(f"The {self._service} service does not answer") from error
        await send({"type": "http.response.start", "status": answer.status, "headers": []})
        await send({"type": "http.response.body", "body": answer.body})


async def _serve(app: ASGIApp, request: Request) -> Answer:
    received: dict[str, str] = {}

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            received.update({name.decode(): value.decode() for name, value in message.get("headers", ())})
            await send(message)

        await app(scope, receive, note)

    path, query = request.path, request.query
    answer = await request_once(noting, request.method, path, query=query, headers=request.headers, body=request.body)
    return Answer(answer.status, answer.body, received)


def _identity(request: Request) -> Answer:
    """What identity would say: it knows everybody who is asked for, and how to reach them."""
    ids = [part.partition("=")[2] for part in request.query.split("&") if part]
    people = [{"customer_id": id_, "name": None, "email": f"{id_}@example.com", "phone": None} for id_ in ids]
    return Answer(200, msgspec.json.encode(people))
