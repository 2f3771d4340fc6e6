"""The gateway, put together: its own few pages, and the way to the services for everything under /api/v1."""

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderwright.gateway.admission import check_acceptable, check_headers, client_address, shown_token
from orderwright.gateway.headers import FinalHeaders
from orderwright.gateway.limits import Allowance, LimitReached, RateLimits, headers_of
from orderwright.gateway.pages import PROBES, make_pages
from orderwright.gateway.proxy import Proxy
from orderwright.gateway.routes import API, Route, find, is_normal
from orderwright.gateway.settings import GatewaySettings
from orderwright.kernel.addresses import network_of
from orderwright.kernel.auth import TokenVerifier
from orderwright.kernel.clock import Clock
from orderwright.kernel.edge import Edge
from orderwright.kernel.errors import BusinessError, NotFound, Unavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.peers import Peers
from orderwright.kernel.problems import of_business_error
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import Metrics

CORS_METHODS = ("GET", "POST", "PUT", "DELETE")
CORS_SENT = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID", "Prefer", "X-Request-Id")
CORS_READ = (
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-Id",
)


class Gateway:
    """The public door as an ASGI application."""

    def __init__(self, platform: PlatformSettings, peers: Peers, clock: Clock, ids: Ids, metrics: Metrics) -> None:
        self._settings = GatewaySettings()
        self._peers = peers
        self._proxy = Proxy(peers, self._settings.upstream_timeout_s)
        self._limits = RateLimits(self._settings, clock)
        self._verifier = TokenVerifier(self._published_keys, clock)
        self._pages = make_pages(peers, clock, metrics)
        edge = Edge(
            _for_browsers(self._answer, self._settings.cors_origins),
            service="gateway",
            clock=clock,
            ids=ids,
            metrics=metrics,
            max_body_bytes=platform.max_body_bytes,
            # The services' own limit comes first, twice where a request is repeated; this one is for slow clients.
            timeout_s=2 * self._settings.upstream_timeout_s + 5,
            max_at_once=platform.max_requests_at_once,
        )
        self.app: ASGIApp = FinalHeaders(edge)

    async def stop(self) -> None:
        """Nothing is held here that has to be let go of."""

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # They know how to refuse a websocket, and what to say when a server starts.
            await self._pages(scope, receive, send)
            return
        allowances: list[Allowance] = []
        begun = False

        async def telling(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message.get("headers", ()), *headers_of(allowances)]}
            await send(message)

        try:
            await self._admit(scope, receive, telling, allowances)
        except BusinessError as error:
            if begun:
                # Too late to say so in another way than the edge's: by breaking the connection off.
                raise
            if isinstance(error, LimitReached):
                allowances.append(error.allowance)
            await of_business_error(error)(scope, receive, telling)

    async def _admit(self, scope: Scope, receive: Receive, send: Send, allowances: list[Allowance]) -> None:
        """Have the request answered if it may be; `allowances` gets what is left of each limit that it counts for."""
        headers = Headers(scope=scope)
        check_headers(scope)
        if scope["path"] in PROBES:
            await self._pages(scope, receive, send)
            return
        address = client_address(scope, headers, self._settings.trusted_proxies)
        await self._count(allowances, "address", network_of(address))
        if not scope["path"].startswith(f"{API}/") or scope["path"] == f"{API}/openapi.json":
            await self._pages(scope, receive, send)
            return
        scope["route"] = route = _route(scope)
        check_acceptable(headers)
        if route.guessable:
            await self._count(allowances, "login", network_of(address))
        if scope["method"] not in route.public:
            caller = await self._verifier.verify(shown_token(headers))
            await self._count(allowances, "caller", caller.id)
        await self._proxy.forward(route, scope, receive, send, address)

    async def _count(self, allowances: list[Allowance], name: str, who: str) -> None:
        allowance = await self._limits.count(name, who)
        if allowance is not None:
            allowances.append(allowance)

    async def _published_keys(self) -> Mapping[str, Any]:
        answer = await self._peers.ask("identity", "GET", "/.well-known/jwks.json", anonymous=True)
        if answer.status != 200:
            raise Unavailable("The keys that tokens are verified with cannot be had at the moment")
        keys: Mapping[str, Any] = answer.json()
        return keys


def assemble(platform: PlatformSettings, peers: Peers, clock: Clock, ids: Ids, metrics: Metrics) -> Gateway:
    """The gateway, ready to open."""
    return Gateway(platform, peers, clock, ids, metrics)


def _route(scope: Scope) -> Route:
    path: str = scope["path"]
    route = find(path.removeprefix(API)) if is_normal(path, scope.get("raw_path") or b"") else None
    if route is None:
        raise NotFound("There is no such address; /docs shows those that there are")
    return route


def _for_browsers(app: ASGIApp, origins: list[str]) -> ASGIApp:
    """`app`, callable by pages of `origins`; browsers keep all other pages from reading its answers."""
    if not origins:
        return app
    return CORSMiddleware(
        app, allow_origins=origins, allow_methods=CORS_METHODS, allow_headers=CORS_SENT, expose_headers=CORS_READ
    )
