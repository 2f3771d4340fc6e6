"""A peer behind sockets: an ASGI application that passes each request on to one of a service's replicas.

Invariants: what cannot have been carried out is tried elsewhere at once; what may have been is tried once more only
where repeating is harmless, and from a budget. Answers are passed on piece by piece, as they come.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from starlette.types import Message, Receive, Scope, Send

from orderwright.kernel.addressing import LookUp, look_up, read_origins
from orderwright.kernel.clock import Clock
from orderwright.kernel.edge import OVERLOADED, OVERLOADED_HEADER, UNTIMED
from orderwright.kernel.errors import Malformed, Unavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.peers import FAULT_OF_ONE, UNCOUNTED
from orderwright.kernel.replica import ConnectionEnded, Replica, Trip
from orderwright.kernel.replicas import Patience, Replicas
from orderwright.kernel.resilience import RetryBudget
from orderwright.kernel.telemetry import Metrics

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"expect",
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
"""Headers that belong to one connection (RFC 9110, section 7.6.1); the host, which is the peer's own; and what a client
expects before it sends its body, because all of that is here."""
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class HttpPeer:
    """Passes requests on to the replicas at `addresses`: URLs with commas between, of machines or of names."""

    def __init__(
        self,
        service: str,
        addresses: str,
        *,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        look_up: LookUp = look_up,
        patience: Patience | None = None,
    ) -> None:
        self.service = service
        self.metrics = metrics
        self.patience = patience or Patience()
        self.budget = RetryBudget()
        self.replicas = Replicas(
            service,
            read_origins(service, addresses),
            clock=clock,
            ids=ids,
            metrics=metrics,
            look_up=look_up,
            patience=self.patience,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await whole_body(receive)
        if body is None:
            return
        self.budget.earn()
        await self.replicas.find()
        await _Exchange(self, scope, body).make(send)

    async def close(self) -> None:
        """Let go of the connections."""
        await self.replicas.close()


class _Exchange:
    """One request, until it is answered: by the replica that is asked first, or by another."""

    def __init__(self, peer: HttpPeer, scope: Scope, body: bytes) -> None:
        self._peer = peer
        self._replicas = peer.replicas
        self._scope = scope
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._body = body
        self._headers = [(name, value) for name, value in scope["headers"] if name.lower() not in HOP_BY_HOP]
        self._target: bytes = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        self._lasts = scope["raw_path"].decode("latin-1").endswith(UNTIMED)
        self._may_be_repeated = _is_repeatable(scope["method"], dict(self._headers))
        self._tried: list[Replica] = []

    async def make(self, send: Send) -> None:
        """Have it answered. Unavailable when nobody does."""
        while True:
            with self._replicas.engaged(self._tried) as replica:
                self._tried.append(replica)
                response = await self._head(replica)
                if response is not None:
                    await self._pass_back(replica, response, send)
                    return
            self._peer.metrics.retries.labels(self._peer.service).inc()

    async def _head(self, replica: Replica) -> aiohttp.ClientResponse | None:
        """The beginning of an answer; None when another replica is to be asked."""
        response = await self._sent(replica)
        if response is None:
            return None
        has_room = response.status != 503 or OVERLOADED_HEADER not in response.headers
        if not has_room:
            self._state[OVERLOADED] = True
        elif response.status >= 500:
            self._note_whose_fault(replica)
        self._replicas.answered(replica, response.status, has_room=has_room)
        if response.status == 503 and self._may_go_on():
            response.close()
            return None
        return response

    async def _sent(self, replica: Replica) -> aiohttp.ClientResponse | None:
        while True:
            trip = Trip()
            for mark in UNCOUNTED:
                self._state.pop(mark, None)
            try:
                return await self._patiently(replica, trip)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                self._note_whose_fault(replica)
                self._replicas.refused(replica)
                self._go_on_or_raise(error, is_harmless=True)
                return None
            except (aiohttp.ClientError, TimeoutError) as error:
                is_stale = isinstance(error, ConnectionEnded) and not trip.connected
                if is_stale and (not trip.sent or self._may_be_repeated):
                    # It was closed while it was idle, which says nothing of the replica: once more on a new one.
                    self._may_be_repeated = self._may_be_repeated and not trip.sent
                    self._peer.metrics.retries.labels(self._peer.service).inc()
                    continue
                self._note_whose_fault(replica)
                self._replicas.broke(replica, f"broke off: {type(error).__name__}")
                self._go_on_or_raise(error, is_harmless=not trip.sent)
                return None
            except ValueError as error:
                # Last: what says that a certificate is not the replica's is one as well.
                self._state[FAULT_OF_ONE] = True
                raise Malformed("The request cannot be passed on: its path or headers break a rule of HTTP") from error

    async def _patiently(self, replica: Replica, trip: Trip) -> aiohttp.ClientResponse:
        """Send it. TimeoutError when the replica turned out to be away while it was on its way and could be moved."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        doubt = loop.call_later(self._peer.patience.doubt_after_s, self._replicas.doubt, replica)
        patience = asyncio.timeout(None)
        try:
            async with patience:
                if self._may_be_repeated:
                    replica.movable.add(patience)
                return await replica.send(
                    self._scope["method"], self._target, self._headers, self._body, trip, lasts=self._lasts
                )
        except asyncio.CancelledError:
            # Whoever waits gave up: because it took too long, or because a client went away, which says nothing.
            self._note_whose_fault(replica)
            if loop.time() - began_s >= self._peer.patience.doubt_after_s:
                self._replicas.broke(replica, "did not answer in time")
            raise
        finally:
            doubt.cancel()
            replica.movable.discard(patience)

    async def _pass_back(self, replica: Replica, response: aiohttp.ClientResponse, send: Send) -> None:
        try:
            await send(_start(response))
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except aiohttp.ClientError as error:
            self._replicas.broke(replica, f"broke its answer off: {type(error).__name__}")
            raise Unavailable(f"The {self._peer.service} service broke its answer off") from error
        finally:
            response.close()

    def _note_whose_fault(self, replica: Replica) -> None:
        if self._replicas.is_alone_in_failing(replica):
            self._state[FAULT_OF_ONE] = True

    def _go_on_or_raise(self, error: Exception, *, is_harmless: bool) -> None:
        """Return when another replica is to be asked. Unavailable when not."""
        if is_harmless and self._replicas.has_another(self._tried):
            return
        if self._may_go_on():
            return
        if is_harmless:
            raise Unavailable(f"No replica of the {self._peer.service} service answers") from error
        raise Unavailable(
            f"The {self._peer.service} service did not answer, and may have done what it was asked; "
            "send it again with the same Idempotency-Key"
        ) from error

    def _may_go_on(self) -> bool:
        """Whether a request that was sent may be sent to another replica; once for each request."""
        may = self._may_be_repeated and self._replicas.has_another(self._tried) and self._peer.budget.take()
        self._may_be_repeated = False
        return may


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


def _is_repeatable(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether sending it twice does what sending it once does, and is answered alike."""
    names = {name.lower() for name in headers}
    # Done twice, `only if it is still as I saw it` is refused the second time.
    return b"idempotency-key" in names or (method in IDEMPOTENT and b"if-match" not in names)


def _start(response: aiohttp.ClientResponse) -> Message:
    headers = [(name.lower(), value) for name, value in response.raw_headers if name.lower() not in HOP_BY_HOP]
    return {"type": "http.response.start", "status": response.status, "headers": headers}
