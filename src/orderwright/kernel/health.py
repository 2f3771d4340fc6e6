"""Health and readiness: alive means that the process answers, ready means that it can do its work.

Invariant: liveness depends on nothing but the process, so that an absent broker never gets a healthy process killed;
readiness asks the real database, the real broker and the consumers, and says which of them is the reason.
"""

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from orderwright.kernel.manifest import Ping
from orderwright.kernel.telemetry import Metrics
from orderwright.kernel.web import View


class Health(View):
    """The process is alive."""

    status: str
    service: str


class Readiness(View):
    """Whether the service can work, and what each part says."""

    ready: bool
    service: str
    checks: dict[str, str]
    notes: dict[str, str]


def health_router(
    service: str,
    pings: Mapping[str, Ping],
    reasons: Callable[[], Mapping[str, str]],
    metrics: Metrics,
    notes: Callable[[], Mapping[str, str]] = dict,
) -> APIRouter:
    """`/health`, `/ready` and `/metrics` of a service; `reasons` names what is known to be wrong without asking.

    What `notes` names is told too, and makes nothing unready.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/health", summary="Whether the process is alive")
    async def health() -> Health:
        return Health(status="healthy", service=f"{service}-service" if service != "gateway" else "gateway")

    @router.get("/ready", summary="Whether the service can do its work", responses={503: {"model": Readiness}})
    async def ready(response: Response) -> Readiness:
        checks = dict.fromkeys(pings, "ok")
        for name, ping in pings.items():
            try:
                await ping()
            except Exception as error:
                checks[name] = str(error) or type(error).__name__
        checks.update(reasons())
        works = all(text == "ok" for text in checks.values())
        response.status_code = 200 if works else 503
        if not works:
            response.headers["Retry-After"] = "1"
        return Readiness(ready=works, service=service, checks=checks, notes=dict(notes()))

    @router.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
