"""A service behind sockets: what is passed on, and what is not."""

import asyncio
from collections.abc import Iterator
from typing import Any

from starlette.types import Message

from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.httppeer import HttpPeer
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.server import Door
from orderwright.kernel.telemetry import Metrics
from tests.gateway.bench import SmallService


def scope_of(method: str, path: str, **headers: str) -> dict[str, Any]:
    """A request as a server would hand it over."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "raw_path": path.encode(), "query_string": b"", "headers": fields}


async def test_an_upload_that_was_broken_off_is_not_passed_on() -> None:
    service, sent = SmallService("order"), list[Message]()
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": b'{"half":', "more_body": True}, {"type": "http.disconnect"}],
    )

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    door = Door("order", service.app, "127.0.0.1", 0, stop_timeout_s=1)
    await door.open()
    peer = HttpPeer("order", door.address, clock=FrozenClock(), ids=SeededIds(), metrics=Metrics())
    async with asyncio.timeout(5):
        await peer(scope_of("POST", "/orders"), receive, send)
    await peer.close()
    await door.shut()
    assert service.heard == []
    assert sent == []
