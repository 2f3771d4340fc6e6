"""Carries the faults out, each at its time, and heals what has to be healed.

Invariant: two faults of one target never overlap; when `strike_all` returns, every fault is over.
"""

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chaos.faults import BROKER_SERVER, DATABASE, KINDS, Fault
from chaos.links import answers, asks, at_first, commits, heal
from chaos.platform import Keeper
from chaos.servers import Servers
from tools.backends.server import Server
from tools.proxy import Act, Proxy, Wire

WAIT_FOR_COMMIT_S = 15.0
"""A fault that waits for a COMMIT waits no longer than this."""
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Struck:
    """What became of a fault."""

    fault: Fault
    struck: bool
    """Whether there was anything to strike: a COMMIT may not have come, a disk may not be ours to fill."""
    over_s: float
    """When it was over, by the monotonic clock."""


class Striker:
    """Strikes one platform."""

    def __init__(self, links: Mapping[str, Proxy], keeper: Keeper, servers: Servers, tell: Told) -> None:
        self._links = links
        self._keeper = keeper
        self._servers = servers
        self._tell = tell
        self._busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.done: list[Struck] = []

    async def strike_all(self, faults: list[Fault]) -> None:
        """All of them, each at its time from now."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as strikes:
            for fault in faults:
                await asyncio.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
                self._tell(fault.told())
                strikes.create_task(self._strike(fault))

    def heal(self) -> None:
        """Let every link work again."""
        for link in self._links.values():
            heal(link)

    async def _strike(self, fault: Fault) -> None:
        async with self._busy[fault.target]:
            match KINDS[fault.kind].where:
                case "process":
                    struck = await self._process(fault)
                case "server":
                    struck = await self._server(fault)
                case _:
                    struck = await self._link(fault, self._links[fault.target])
            self.done.append(Struck(fault, struck, time.monotonic()))

    async def _link(self, fault: Fault, link: Proxy) -> bool:
        try:
            match fault.kind:
                case "cut":
                    link.cut()
                case "forgotten":
                    link.forget()
                case "latency":
                    link.delay_s = 0.05 + 0.45 * fault.strength
                    await asyncio.sleep(fault.lasts_s)
                case "silence":
                    link.freeze()
                    await asyncio.sleep(fault.lasts_s)
                case "torn":
                    wanted = answers if fault.strength < 0.5 else asks
                    return await _armed(link, wanted, Act.TEAR, lambda: None, fault.lasts_s)
                case "unanswered":
                    return await _armed(link, asks, Act.UNANSWERED, lambda: None, fault.lasts_s)
                case _:
                    return await _armed(link, commits, Act.UNANSWERED, lambda: None, fault.lasts_s)
            return True
        finally:
            heal(link)

    async def _process(self, fault: Fault) -> bool:
        service = fault.target
        if fault.kind == "pause":
            return await self._pause(service, fault.lasts_s)
        struck = True
        if fault.kind == "kill":
            self._keeper.kill(service)
        else:
            # A process that is down or restarts says no COMMIT; then the fault finds nothing.
            name = f"{DATABASE}:{service}"
            async with self._busy[name]:
                act = Act.SWALLOW if fault.kind == "kill_before_commit" else Act.UNANSWERED
                link = self._links[name]
                struck = await _armed(link, commits, act, lambda: self._keeper.kill(service), WAIT_FOR_COMMIT_S)
                heal(link)
        if struck:
            await asyncio.sleep(fault.lasts_s)
            await self._keeper.bring_back(service)
        return struck

    async def _pause(self, service: str, lasts_s: float) -> bool:
        [member] = self._keeper.fleet.of(service)
        if not member.running:
            return False
        member.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            member.signal(signal.SIGCONT)
        return True

    async def _server(self, fault: Fault) -> bool:
        servers = self._servers
        server: Server = servers.broker if fault.target == BROKER_SERVER else servers.postgres
        if fault.kind == "disk_full":
            if not servers.small_disk:
                return False
            await asyncio.to_thread(servers.fill_disk)
            await asyncio.sleep(fault.lasts_s)
            await asyncio.to_thread(servers.free_disk)
        elif fault.kind.endswith("kill"):
            await asyncio.to_thread(servers.kill, server)
            await asyncio.sleep(fault.lasts_s)
            await asyncio.to_thread(server.start)
        else:
            await asyncio.to_thread(server.restart)
        return True


async def _armed(
    link: Proxy,
    wanted: Callable[[Wire, bytes, bool], bool],
    act: Act,
    then: Callable[[], None],
    timeout_s: float,
) -> bool:
    """Wait until the link sees what is wanted and strikes; answers whether it did."""
    seen = asyncio.Event()

    def strike() -> None:
        then()
        seen.set()

    link.watcher = at_first(wanted, act, strike)
    try:
        await asyncio.wait_for(seen.wait(), timeout_s)
    except TimeoutError:
        return False
    return True
