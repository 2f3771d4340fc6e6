"""Requests that break off on their way."""

from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from orderwright.kernel.testing import ServiceBench
from orderwright.services.catalog.manifest import assemble


async def test_a_client_that_goes_away_while_it_sends_is_no_fault_of_ours(tmp_path: Path) -> None:
    messages = iter([{"type": "http.request", "body": b'{"id": ', "more_body": True}, {"type": "http.disconnect"}])
    statuses: list[int] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    async with ServiceBench.open(assemble, "catalog", tmp_path) as bench:
        headers = [
            (b"content-type", b"application/json"),
            (b"authorization", f"Bearer {bench.keys.token('s', ['staff'])}".encode()),
        ]
        scope: dict[str, object] = {
            "type": "http",
            "method": "POST",
            "path": "/products",
            "raw_path": b"/products",
            "headers": headers,
        }
        scope |= {"query_string": b"", "root_path": "", "client": None, "server": None, "scheme": "http"}
        with capture_logs() as logs:
            await bench.runtime.app(scope, receive, send)
    assert statuses == [400]
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []
