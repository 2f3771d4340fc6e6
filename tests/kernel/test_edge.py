"""The outermost layer, when something goes wrong inside or the client goes away."""

import json
from typing import Any

import pytest
from fastapi import APIRouter, Request
from structlog.testing import capture_logs

from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.edge import Edge
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.telemetry import Metrics
from orderwright.kernel.web import create_app

router = APIRouter()


@router.post("/read")
async def read(request: Request) -> dict[str, int]:
    """Says how long the body was."""
    return {"length": len(await request.body())}


@router.post("/break")
async def fail() -> None:
    """A fault of ours."""
    raise LookupError("nobody was to know this")


async def ask(path: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the edge sends to a client who sends these messages."""
    app = create_app("test", "", routers=[router], version="0")
    edge = Edge(
        app,
        service="test",
        clock=FrozenClock(),
        ids=SeededIds(1),
        metrics=Metrics(),
        max_body_bytes=1000,
        timeout_s=10,
    )
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "root_path": "",
    }
    incoming, sent = iter(messages), list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    await edge(scope, receive, send)
    return sent


async def test_a_fault_of_ours_is_answered_with_a_problem_document_and_logged_once() -> None:
    with capture_logs() as logs:
        start, body = await ask("/break", {"type": "http.request", "body": b"", "more_body": False})
    assert start["status"] == 500
    assert dict(start["headers"])[b"content-type"].startswith(b"application/problem+json")
    assert json.loads(body["body"])["type"].endswith("internal-error")
    assert b"nobody was to know" not in body["body"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["unforeseen_error"]


@pytest.mark.parametrize("before", [0, 1])
async def test_a_client_that_goes_away_in_the_middle_of_its_body_is_no_fault(before: int) -> None:
    begun = {"type": "http.request", "body": b"{", "more_body": True}
    with capture_logs() as logs:
        await ask("/read", *[begun] * before, {"type": "http.disconnect"})
    assert [line for line in logs if line["log_level"] in {"warning", "error"}] == []
