"""Every link of the platform, each through a proxy of its own.

Invariant: a link is healed by `heal`, whatever was done to it.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from chaos.faults import LINKS
from tools.proxy import Act, Proxy, Watcher, Wire, proxy

READS = "reads"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the two ends of a link are: the port that clients are told, and the server's."""

    listens: int
    leads_to: int


@asynccontextmanager
async def links(places: Mapping[str, Place]) -> AsyncIterator[dict[str, Proxy]]:
    """A proxy for each link, while they are needed."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(proxy("127.0.0.1", places[name].leads_to, at=places[name].listens))
            for name in LINKS
        }


def heal(link: Proxy) -> None:
    """As if nothing had been."""
    link.watcher = None
    link.delay_s = 0.0
    link.thaw()


def at_first(wanted: Callable[[Wire, bytes, bool], bool], act: Act, then: Callable[[], None]) -> Watcher:
    """Strikes at the first bytes that are `wanted`, once, and tells of it."""
    done = False

    def watch(wire: Wire, data: bytes, up: bool) -> Act:
        nonlocal done
        if done or not wanted(wire, data, up):
            return Act.PASS
        done = True
        then()
        return act

    return watch


def commits(wire: Wire, data: bytes, up: bool) -> bool:
    """Whether these bytes end a transaction that may have written (asyncpg sends BEGIN and COMMIT as plain text)."""
    if not up:
        return False
    if b"BEGIN" in data:
        (wire.notes.add if b"READ ONLY" in data else wire.notes.discard)(READS)
    return b"COMMIT;" in data and READS not in wire.notes


def asks(wire: Wire, data: bytes, up: bool) -> bool:  # noqa: ARG001 - as the proxy asks
    """Whether these bytes go to the server."""
    return up


def answers(wire: Wire, data: bytes, up: bool) -> bool:  # noqa: ARG001 - as the proxy asks
    """Whether these bytes go to the client, and are long enough to be torn."""
    return not up and len(data) > 1
