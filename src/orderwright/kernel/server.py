"""HTTP servers inside this process: one uvicorn for each door, none of which touches the process's signals."""

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from orderwright.kernel.errors import ConfigurationError

IDLE_TIMEOUT_S = 75
"""So long a connection is kept that nobody uses.

Load balancers close theirs after 60 s, and must be the first: whoever writes into a connection that is being closed
cannot know whether the request arrived.
"""


class Door(uvicorn.Server):
    """One listening socket and the application behind it."""

    def __init__(
        self, name: str, app: ASGIApp, host: str, port: int, *, stop_timeout_s: float, shared: bool = False
    ) -> None:
        self.name = name
        self.socket = _listen(name, host, port, shared=shared)
        self.host, self.port = self.socket.getsockname()[:2]
        self._task: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=max(1, round(stop_timeout_s)),
                h11_max_incomplete_event_size=16 * 1024,
                timeout_keep_alive=IDLE_TIMEOUT_S,
            )
        )

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # The process handles its signals once, for all doors.
        yield

    async def open(self) -> None:
        """Answer from now on."""
        self._task = asyncio.create_task(self.serve(sockets=[self.socket]), name=f"door {self.name}")
        while not self.started:
            if self._task.done():
                self._task.result()
                raise ConfigurationError(f"The {self.name} door did not open")
            await asyncio.sleep(0.001)

    async def shut(self) -> None:
        """Take no more connections, finish what runs, close."""
        self.should_exit = True
        if self._task is not None:
            await self._task
        self.socket.close()


def _listen(name: str, host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        # The kernel spreads connections over the processes that listen here.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"{name} cannot listen on {host}:{port} ({error.strerror}); is it running already? "
            f"Another port: ORDERWRIGHT_{name.upper()}_PORT"
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener
