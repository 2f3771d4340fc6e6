"""What the libraries below a replica do at odd moments."""

import ssl
from typing import Any

import httpx2
import pytest

from orderwright.kernel.addressing import Origin
from orderwright.kernel.replica import Replica


async def test_a_connection_that_ends_as_soon_as_it_is_made_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ended(*_: Any) -> None:
        socket: Any = None
        socket.getpeername()

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", ended)
    replica = Replica(Origin("http", "127.0.0.1", 1, ""), "127.0.0.1", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), 1.0)
    with pytest.raises(httpx2.ConnectError, match="ended as soon as it was made"):
        await replica.ask_ready()
    await replica.close()
