"""Where services are: addresses as they are set, and the machines that a name stands for.

Invariant: what is no address is refused when the process starts, and not when somebody first asks the service.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import httpx2

from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.settings import PREFIX

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
        url = httpx2.URL(text)
        port = url.port if url.port is not None else DEFAULT_PORTS.get(url.scheme, 0)
    except httpx2.InvalidURL:
        raise _no_address(service, text) from None
    if url.scheme not in DEFAULT_PORTS or not url.host or url.userinfo or url.query or url.fragment:
        raise _no_address(service, text)
    return Origin(url.scheme, url.host, port, url.path.rstrip("/"))


def _no_address(service: str, text: str) -> ConfigurationError:
    # What was set may hold a password, and is not repeated.
    where = text.rpartition("@")[2]
    return ConfigurationError(
        f"{PREFIX}{service.upper()}_URL has {where!r}; it takes addresses such as http://10.0.0.5:8001, "
        "with commas between"
    )
