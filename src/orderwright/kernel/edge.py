"""The outermost layer of every HTTP server: ids, limits, time, and the one line of log for each request.

Invariants: every answer carries X-Request-Id; a body over the limit is refused before it is kept; more requests than
can be answered in time are refused at once; a request that takes too long is answered with 503; an unforeseen error is
answered with a problem document that tells nothing of the inside.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderwright.kernel import context
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import BusinessError, NotFound, TooLarge, Unavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.problems import of_business_error, of_unforeseen_error
from orderwright.kernel.telemetry import Metrics

log = structlog.get_logger(__name__)

UNTIMED = ("/stream",)
"""Paths that stay open for as long as the client listens."""
TELL_EVERY_S = 1.0
"""How often the log says that requests are refused: a line for each would cost more than the refusals."""
QUIET = frozenset({"/health", "/ready", "/metrics"})
OVERLOADED = "orderwright.overloaded"
"""In a request's ASGI state: it was refused because too many were there, so nothing is wrong with who refused it."""
OVERLOADED_HEADER = "X-Orderwright-Overloaded"
"""The same, where the request came through a socket."""
PEER_HEADER = "X-Orderwright-Peer"
"""Names the service that asks. It only says for whom there is room; what somebody may do, a token says."""


class Edge:
    """Pure ASGI, so that streams pass through unbuffered."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        max_body_bytes: int,
        timeout_s: float,
        max_at_once: int = 256,
        room_for_peers: int = 0,
    ) -> None:
        """Where `max_at_once` requests are being answered there is room for so many more of services of ours.

        They ask about what is under way already: were they turned away with those who come anew, that would wait, too.
        """
        self._app = app
        self._service = service
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s
        self._max_at_once = max_at_once
        self._room_for_peers = room_for_peers
        self._running = 0
        self._refused = 0
        self._tell_at_s = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counts = scope["path"] not in QUIET and not scope["path"].endswith(UNTIMED)
        headers = Headers(scope=scope)
        if counts and self._running >= self._max_at_once and not self._has_room(headers):
            await self._refuse(scope, receive, send, headers)
            return
        request = context.RequestContext(
            context.usable_request_id(headers.get("x-request-id")) or self._ids.new(),
            context.continued_traceparent(headers.get("traceparent"), self._ids),
        )
        exchange = _Exchange(send, request.request_id)
        started_s = self._clock.monotonic_s()
        with context.carried(request):
            self._running += counts
            try:
                await self._answer(scope, _limited(receive, headers, self._max_body_bytes), exchange)
            finally:
                self._running -= counts
                self._report(scope, exchange.status, self._clock.monotonic_s() - started_s)

    def _has_room(self, headers: Headers) -> bool:
        return PEER_HEADER in headers and self._running < self._max_at_once + self._room_for_peers

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """At once and with next to no work: those who were let in are answered, and the rate does not collapse."""
        request_id = context.usable_request_id(headers.get("x-request-id")) or self._ids.new()
        self._metrics.requests.labels(self._service, scope["method"], "refused", "503").observe(0.0)
        self._refused += 1
        if self._clock.monotonic_s() >= self._tell_at_s:
            log.warning("too_many_requests", service=self._service, refused=self._refused, at_once=self._max_at_once)
            self._refused, self._tell_at_s = 0, self._clock.monotonic_s() + TELL_EVERY_S
        busy = Unavailable("Too many requests are being answered at this moment", retry_after_s=1)
        answer = of_business_error(busy)
        answer.headers[OVERLOADED_HEADER] = "true"
        scope.setdefault("state", {})[OVERLOADED] = True
        await answer(scope, receive, _Exchange(send, request_id).send)

    async def _answer(self, scope: Scope, receive: Receive, exchange: "_Exchange") -> None:
        timeout_s = None if scope["path"].endswith(UNTIMED) else self._timeout_s
        try:
            if "\x00" in scope["path"]:
                raise NotFound("There is no such address")
            async with asyncio.timeout(timeout_s):
                await self._app(scope, receive, exchange.send)
        except BusinessError as error:
            await exchange.fall_back(of_business_error(error), scope, receive)
        except TimeoutError:
            late = Unavailable(f"No answer within {timeout_s} s; send it again with the same Idempotency-Key")
            await exchange.fall_back(of_business_error(late), scope, receive)
        except ClientDisconnect:
            # Nobody is there to be answered, and it is no fault of ours.
            log.info("client_went_away", service=self._service, method=scope["method"], path=scope["path"])
        except Exception:
            log.exception("unforeseen_error", service=self._service, method=scope["method"], path=scope["path"])
            if not exchange.complete:
                await exchange.fall_back(of_unforeseen_error(), scope, receive)

    def _report(self, scope: Scope, status: int, duration_s: float) -> None:
        if scope["path"] in QUIET:
            return
        route = scope.get("route")
        template = getattr(route, "path", "unmatched")
        self._metrics.requests.labels(self._service, scope["method"], template, str(status)).observe(duration_s)
        log.info(
            "request",
            service=self._service,
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round(duration_s * 1000, 1),
        )


class _Exchange:
    """Watches one answer on its way out."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self.complete = False
        """Whether a whole answer is out; frameworks answer an error themselves, and then pass it on."""
        self._send = send
        self._request_id = request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self._request_id
        await self._send(message)
        self.complete = message["type"] == "http.response.body" and not message.get("more_body", False)

    async def fall_back(self, answer: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Give `answer` instead, if nothing was sent yet; otherwise the broken connection has to say it."""
        if self.status:
            raise ConnectionAbortedError("The answer had begun when it failed")
        await answer(scope, receive, self.send)


def _limited(receive: Receive, headers: Headers, limit: int) -> Receive:
    declared = headers.get("content-length", "0")
    too_large = TooLarge(f"The body may have at most {limit} bytes")
    received = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal received
        if declared.isdigit() and int(declared[:20]) > limit:
            raise too_large
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large
        return message

    return limited
