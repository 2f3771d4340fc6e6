"""The gateway, put together: its own few pages, and the way to the services for everything under /api/v1."""

from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from orderwright import __version__
from orderwright.gateway import document
from orderwright.gateway.admission import RateLimits, check_request, client_address, network_of
from orderwright.gateway.proxy import Proxy
from orderwright.gateway.routes import API, ROUTES, Route, find, is_normal
from orderwright.gateway.settings import GatewaySettings
from orderwright.kernel.auth import TokenVerifier
from orderwright.kernel.clock import Clock
from orderwright.kernel.edge import Edge
from orderwright.kernel.errors import BusinessError, NotFound, Unauthenticated
from orderwright.kernel.health import health_router
from orderwright.kernel.ids import Ids
from orderwright.kernel.peers import Peers
from orderwright.kernel.problems import add_problem_handlers, of_business_error
from orderwright.kernel.resilience import BreakerState
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import Metrics

SERVICES = tuple(dict.fromkeys(route.service for route in ROUTES))


class Gateway:
    """The public door as an ASGI application."""

    def __init__(self, platform: PlatformSettings, peers: Peers, clock: Clock, ids: Ids, metrics: Metrics) -> None:
        self._settings = GatewaySettings()
        self._peers = peers
        self._proxy = Proxy(peers, self._settings.upstream_timeout_s)
        self._limits = RateLimits(self._settings)
        self._verifier = TokenVerifier(self._published_keys, clock)
        self._trusted = frozenset(self._settings.trusted_proxies)
        self._document: dict[str, Any] | None = None
        self._pages = self._make_pages(metrics)
        inner: ASGIApp = self._dispatch
        if self._settings.cors_origins:
            inner = CORSMiddleware(
                inner,
                allow_origins=self._settings.cors_origins,
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID"],
                expose_headers=["X-Request-Id", "Idempotency-Replayed", "ETag", "Retry-After"],
            )
        self.app: ASGIApp = Edge(
            inner,
            service="gateway",
            clock=clock,
            ids=ids,
            metrics=metrics,
            max_body_bytes=platform.max_body_bytes,
            # The services' own limit comes first; this one is for the gateway itself.
            timeout_s=2 * self._settings.upstream_timeout_s + 5,
        )

    async def stop(self) -> None:
        """Nothing is held here that has to be let go of."""
        self._document = None

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(f"{API}/") or scope["path"] == f"{API}/openapi.json":
            await self._pages(scope, receive, send)
            return
        try:
            await self._admit(scope, receive, send)
        except BusinessError as error:
            await of_business_error(error)(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        check_request(scope, headers)
        address = client_address(scope, headers, self._trusted)
        allowance = await self._limits.count("address", network_of(address))
        route = self._route(scope)
        if route.guessable:
            allowance = await self._limits.count("login", network_of(address))
        if scope["method"] not in route.public_methods:
            caller = await self._verifier.verify(_bearer(headers))
            allowance = await self._limits.count("caller", caller.id) or allowance
        extra = allowance.headers() if allowance else []
        await self._proxy.forward(route.service, scope, receive, send, address=address, extra=extra)

    def _route(self, scope: Scope) -> Route:
        path: str = scope["path"]
        route = find(path.removeprefix(API)) if is_normal(path, scope.get("raw_path") or b"") else None
        if route is None:
            raise NotFound("There is no such address; /docs shows those that there are")
        return route

    async def _published_keys(self) -> dict[str, Any]:
        answer = await self._peers.ask("identity", "GET", "/.well-known/jwks.json", anonymous=True)
        keys: dict[str, Any] = answer.json()
        return keys

    def _make_pages(self, metrics: Metrics) -> FastAPI:
        pages = FastAPI(title="orderwright", version=__version__, openapi_url="/openapi.json", docs_url="/docs")
        add_problem_handlers(pages)
        pages.include_router(health_router("gateway", {}, self._reasons, metrics))

        async def whole() -> JSONResponse:
            if self._document is None:
                merged, complete = await document.gather(self._peers, SERVICES, __version__)
                if not complete:
                    return JSONResponse(merged)
                self._document = merged
            return JSONResponse(self._document)

        async def index() -> dict[str, str]:
            return {
                "name": "orderwright",
                "version": __version__,
                "api": API,
                "docs": "/docs",
                "openapi": "/openapi.json",
            }

        pages.router.routes[:] = [
            route for route in pages.router.routes if getattr(route, "path", "") != "/openapi.json"
        ]
        pages.add_api_route("/openapi.json", whole, include_in_schema=False)
        pages.add_api_route(f"{API}/openapi.json", whole, include_in_schema=False)
        pages.add_api_route("/", index, include_in_schema=False)
        return pages

    def _reasons(self) -> dict[str, str]:
        return {
            breaker.name: "its breaker is open"
            for breaker in self._proxy.breakers(SERVICES)
            if breaker.state is BreakerState.OPEN
        }


def assemble(platform: PlatformSettings, peers: Peers, clock: Clock, ids: Ids, metrics: Metrics) -> Gateway:
    """The gateway, ready to open."""
    return Gateway(platform, peers, clock, ids, metrics)


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("Send an access token: `Authorization: Bearer …` from POST /api/v1/login")
    return token.strip()
