"""Passes a request on to the service that it is for, and the answer back, piece by piece as it comes.

Invariants: from here a request that may change something is sent once, whatever happens; a safe one is tried once more,
and only while the client has seen nothing of an answer. A service that keeps failing is left alone by its breaker; that
one of its replicas fails while others are well is no reason to, nor that it has no room for more. Only time that the
service takes counts against the service: a client that sends or reads slowly is not its fault.
"""

import asyncio
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderwright.gateway.headers import inward, outward
from orderwright.gateway.routes import API, READING, Route
from orderwright.kernel import context
from orderwright.kernel.addresses import Address
from orderwright.kernel.errors import Unavailable
from orderwright.kernel.httppeer import whole_body
from orderwright.kernel.peers import UNCOUNTED, Peers
from orderwright.kernel.resilience import Breaker, BreakerState

INNER_PEER = ("127.0.0.1", 0)


class Proxy:
    """The way to the services."""

    def __init__(self, peers: Peers, timeout_s: float) -> None:
        self._peers = peers
        self._timeout_s = timeout_s

    async def forward(self, route: Route, scope: Scope, receive: Receive, send: Send, address: Address) -> None:
        """Have the route's service answer. Unavailable when it does not, and nothing has been answered yet."""
        body = await whole_body(receive)
        if body is None:
            return
        app, breaker = self._peers.app(route.service), self._peers.breaker(route.service)
        for may_be_repeated in (True, False) if scope["method"] in READING else (False,):
            attempt = _Attempt(send, breaker, self._timeout_s, route.streams, may_be_repeated)
            await attempt.make(app, _inner(route, scope, address, body, attempt.state), body, receive)
            if not attempt.forgotten:
                return


class _Attempt:
    """One request to a service. Its breaker is told once how it went, as soon as that is known.

    Unavailable at once while the breaker lets nobody through.
    """

    def __init__(self, send: Send, breaker: Breaker, timeout_s: float, streams: bool, may_be_repeated: bool) -> None:
        self.forgotten = False
        """It failed before the client saw anything, and is to be made once more."""
        self.state: dict[str, Any] = {}
        """What the way to the service has to say beside the answer."""
        self._send = send
        self._breaker = breaker
        self._era = breaker.enter()
        self._timeout_s = timeout_s
        self._streams = streams
        self._may_be_repeated = may_be_repeated
        self._begun = False
        self._told = False
        self._client_gone = False
        self._patience = asyncio.timeout(timeout_s)

    async def make(self, app: ASGIApp, scope: Scope, body: bytes, receive: Receive) -> None:
        """Make it. Unavailable when it failed and is not to be forgotten."""
        try:
            async with self._patience:
                if self._streams:
                    await self._while_somebody_listens(app, scope, body, receive)
                else:
                    await app(scope, _replayed(body, receive), self._pass_back)
        except Exception as error:
            self._fail(error)
        except BaseException:
            # Cancelled, or the process ends; a probe that was never settled would keep its place for ever.
            self._abandon()
            raise
        else:
            if not self._begun:
                self._fail(Unavailable(f"The {self._breaker.name} service gave no answer"))

    async def _while_somebody_listens(self, app: ASGIApp, scope: Scope, body: bytes, receive: Receive) -> None:
        """A stream ends when its client goes away, also where nothing is sent that could fail to arrive."""

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._client_gone = True
            self._wait_until(asyncio.get_running_loop().time())

        failure: Exception | None = None
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            try:
                await app(scope, _replayed(body, _nothing_more), self._pass_back)
            except Exception as error:
                failure = error
            finally:
                watching.cancel()
        if failure is not None:
            raise failure

    async def _pass_back(self, message: Message) -> None:
        if self.forgotten:
            return
        if message["type"] == "http.response.start":
            failed = message["status"] >= 500
            self._tell(failed=failed)
            if failed and self._forget():
                return
            self._begun = True
            message = {**message, "headers": outward(message.get("headers", ()))}
        self._wait_until(None)
        await self._send(message)
        if not self._streams:
            self._wait_until(asyncio.get_running_loop().time() + self._timeout_s)

    def _fail(self, error: Exception) -> None:
        """Raise what the client is to know of `error`, if it is to know."""
        if self.forgotten:
            return
        if self._client_gone:
            self._abandon()
            return
        self._tell(failed=True)
        if self._forget():
            return
        if isinstance(error, TimeoutError):
            raise Unavailable(f"No answer within {self._timeout_s:g} s; repeat it with the same Idempotency-Key")
        raise error

    def _forget(self) -> bool:
        """Whether the attempt may be made again: harmless, unseen, not hopeless, and within the budget for it."""
        self.forgotten = (
            self._may_be_repeated
            and not self._begun
            and self._breaker.state is BreakerState.CLOSED
            and self._breaker.take_retry_token()
        )
        return self.forgotten

    def _tell(self, *, failed: bool) -> None:
        if not self._told:
            self._told = True
            if failed and not UNCOUNTED.isdisjoint(self.state):
                self._breaker.abandoned(self._era)
            elif failed:
                self._breaker.failed(self._era)
            else:
                self._breaker.succeeded(self._era)

    def _abandon(self) -> None:
        if not self._told:
            self._told = True
            self._breaker.abandoned(self._era)

    def _wait_until(self, deadline_s: float | None) -> None:
        if not self._patience.expired():
            self._patience.reschedule(deadline_s)


def _replayed(body: bytes, then: Receive) -> Receive:
    """The body in one piece, and then whatever `then` has to say."""
    begun = False

    async def receive() -> Message:
        nonlocal begun
        if begun:
            return await then()
        begun = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _nothing_more() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")


def _inner(route: Route, scope: Scope, address: Address, body: bytes, state: dict[str, Any]) -> Scope:
    """The request as the service sees it: below its own root, with what was found out here in its headers."""
    headers = inward(scope["headers"])
    if any(name.lower() == b"transfer-encoding" for name, _ in scope["headers"]):
        headers.append((b"content-length", str(len(body)).encode()))
    headers.append((b"x-forwarded-for", str(address).encode()))
    request = context.current.get()
    if request is not None:
        headers.append((b"x-request-id", request.request_id.encode()))
        headers.append((b"traceparent", request.traceparent.encode()))
    path = route.inside(scope["path"].removeprefix(API))
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    # How a path was spelt is kept, except where the service's own is another one.
    spelt = quote(path).encode() if route.shared else raw_path.removeprefix(API.encode())
    inner = {
        **scope,
        "path": path,
        "raw_path": spelt,
        "headers": headers,
        "client": INNER_PEER,
        "root_path": "",
        "state": state,
    }
    # What the gateway matched says nothing to the service's own router.
    inner.pop("route", None)
    return inner
