"""The gateway's own pages: health, readiness, counters, the API's document and a way to read and try it.

Invariant: readiness asks the services at most once in REMEMBERED_S, past their breakers, so that asking never closes
the door to a service that only says that it is not ready.
"""

import asyncio
from collections.abc import Mapping

import msgspec
from fastapi import FastAPI, Response

from orderwright import __version__
from orderwright.gateway.document import WholeDocument
from orderwright.gateway.routes import API, SERVICES
from orderwright.kernel.clock import Clock
from orderwright.kernel.docpage import add_doc_page
from orderwright.kernel.errors import Unavailable
from orderwright.kernel.health import health_router
from orderwright.kernel.manifest import Ping
from orderwright.kernel.peers import PeerAnswer, Peers, request_once
from orderwright.kernel.problems import add_problem_handlers
from orderwright.kernel.resilience import BreakerState
from orderwright.kernel.telemetry import Metrics

READY = "ok"
REMEMBERED_S = 2.0
ASK_READY_S = 2.0
PROBES = frozenset({"/health", "/ready", "/metrics"})
"""Pages that machines ask for all the time, and that no limit may keep from them."""


def make_pages(peers: Peers, clock: Clock, metrics: Metrics) -> FastAPI:
    """The pages as an application."""
    pages = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    add_problem_handlers(pages)
    services = _ServicesReady(peers, clock)
    pings = {service: services.ping_of(service) for service in SERVICES}
    pages.include_router(health_router("gateway", pings, services.broken, metrics))
    whole = WholeDocument(peers, __version__, clock)

    async def document() -> Response:
        return Response(await whole.encoded(), media_type="application/json")

    async def index() -> dict[str, str]:
        return {"name": "orderwright", "version": __version__, "api": API, "docs": "/docs", "openapi": "/openapi.json"}

    pages.add_api_route("/openapi.json", document)
    pages.add_api_route(f"{API}/openapi.json", document)
    add_doc_page(pages, "orderwright")
    pages.add_api_route("/", index)
    return pages


class _ServicesReady:
    """What the services say of themselves at /ready, remembered for a moment."""

    def __init__(self, peers: Peers, clock: Clock) -> None:
        self._peers = peers
        self._clock = clock
        self._asking = asyncio.Lock()
        self._said: dict[str, str] = {}
        self._good_until_s = float("-inf")

    def ping_of(self, service: str) -> Ping:
        """A check of one service that fails with what is wrong."""

        async def ping() -> None:
            await self._refresh()
            if self._said[service] != READY:
                raise Unavailable(self._said[service])

        return ping

    def broken(self) -> Mapping[str, str]:
        """The services that are left alone, which is known without asking."""
        breakers = [self._peers.breaker(service) for service in SERVICES]
        return {breaker.name: "its breaker is open" for breaker in breakers if breaker.state is BreakerState.OPEN}

    async def _refresh(self) -> None:
        async with self._asking:
            if self._clock.monotonic_s() >= self._good_until_s:
                said = await asyncio.gather(*(self._ask(service) for service in SERVICES))
                self._said = dict(zip(SERVICES, said, strict=True))
                self._good_until_s = self._clock.monotonic_s() + REMEMBERED_S

    async def _ask(self, service: str) -> str:
        try:
            async with asyncio.timeout(ASK_READY_S):
                answer = await request_once(self._peers.app(service), "GET", "/ready", headers={}, body=b"")
        except TimeoutError:
            return f"no answer within {ASK_READY_S:g} s"
        except Unavailable as error:
            return error.detail
        except Exception as error:
            # Whatever it is, it is the answer to the question: the service cannot be asked.
            return f"cannot be asked: {type(error).__name__}"
        return READY if answer.status == 200 else f"not ready{_failing(answer)}"


def _failing(answer: PeerAnswer) -> str:
    """Which of a service's own checks fail; why is told at its own door."""
    try:
        checks = answer.json()["checks"]
        names = sorted(name for name, text in checks.items() if text != READY)
    except (msgspec.DecodeError, TypeError, KeyError, AttributeError):
        return ""
    return f": {', '.join(names)}"
