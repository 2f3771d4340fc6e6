"""Where services are: addresses as they are set, and the machines that a name stands for.

Invariant: what is no address is refused when the process starts, and not when somebody first asks the service.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import structlog
from yarl import URL

from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.settings import PREFIX

log = structlog.get_logger(__name__)

DEFAULT_PORTS = {"http": 80, "https": 443}

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""The IP addresses of a name; OSError when there are none."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One address as it was set: a machine, or a name that stands for several."""

    scheme: str
    host: str
    port: int
    path: str
    """What all paths begin with there, without a slash at its end; mostly nothing."""

    @property
    def is_name(self) -> bool:
        """Whether the host has to be looked up."""
        try:
            ip_address(self.host)
        except ValueError:
            return True
        return False

    @property
    def authority(self) -> str:
        """Host and port as a request's Host names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class LookUpTimes:
    """How often names are looked up and how long that may take, in seconds."""

    every_s: float = 10.0
    again_s: float = 1.0
    """After a look-up that failed, or when nobody answers at the addresses that are known."""
    timeout_s: float = 5.0


class Names:
    """Looks names up, beside whatever else happens, and tells what they stand for now."""

    def __init__(
        self,
        service: str,
        origins: Sequence[Origin],
        look_up: LookUp,
        adopt: Callable[[Origin, Sequence[str]], None],
        clock: Clock,
        times: LookUpTimes,
    ) -> None:
        self._service = service
        self._names = [origin for origin in origins if origin.is_name]
        self._look_up = look_up
        self._adopt = adopt
        self._clock = clock
        self._times = times
        self._last_s = float("-inf")
        self._next_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    def begin_look_up(self, *, is_urgent: bool) -> asyncio.Task[None] | None:
        """Begin it if it is due; answers the one that is under way. `is_urgent`: do not wait for its turn."""
        now_s = self._clock.monotonic_s()
        is_due = now_s >= self._next_s or (is_urgent and now_s - self._last_s >= self._times.again_s)
        if self._names and self._looking is None and is_due:
            self._looking = asyncio.create_task(self._look_all_up())
        return self._looking

    async def close(self) -> None:
        """Give up what is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look_all_up(self) -> None:
        failed = False
        try:
            for origin in self._names:
                try:
                    async with asyncio.timeout(self._times.timeout_s):
                        self._adopt(origin, await self._look_up(origin.host, origin.port))
                except (OSError, UnicodeError) as error:
                    # TimeoutError is an OSError. Who was known stays known: names fail more often than machines move.
                    failed = True
                    log.warning("look_up_failed", service=self._service, host=origin.host, reason=str(error))
        finally:
            self._last_s = self._clock.monotonic_s()
            self._next_s = self._last_s + (self._times.again_s if failed else self._times.every_s)
            self._looking = None


def read_origins(service: str, text: str) -> tuple[Origin, ...]:
    """The addresses in a list with commas. ConfigurationError when one of them is none, or there are none."""
    origins = tuple(dict.fromkeys(_origin(service, part.strip()) for part in text.split(",") if part.strip()))
    if not origins:
        raise _no_address(service, text)
    return origins


async def look_up(host: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver, which waits in a thread of its own."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _origin(service: str, text: str) -> Origin:
    try:
        url = URL(text)
        port = url.port or 0
    except ValueError:
        raise _no_address(service, text) from None
    if (
        url.scheme not in DEFAULT_PORTS
        or not url.raw_host
        or len(text.split()) > 1
        or url.raw_user is not None
        or url.raw_password is not None
        or url.raw_query_string
        or url.fragment
        or not 0 < port < 65_536
    ):
        raise _no_address(service, text)
    return Origin(url.scheme, url.raw_host, port, url.raw_path.rstrip("/"))


def _no_address(service: str, text: str) -> ConfigurationError:
    # What was set may hold a password, and is not repeated.
    where = text.rpartition("@")[2]
    return ConfigurationError(
        f"{PREFIX}{service.upper()}_URL has {where!r}; it takes addresses such as http://10.0.0.5:8001, "
        "with commas between"
    )
