"""The platform under test: each service in a process of its own, which reaches everything by way of a proxy.

Invariant: a process that ends without being told to is noticed, counted and started again, as an installation does.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.faults import BROKER, DATABASE, DOOR, SERVICES
from chaos.links import Place
from chaos.servers import Servers
from tools.backends.server import free_port
from tools.fleet import DidNotStart, Fleet, Member

LOOK_EVERY_S: Final = 0.5
STARTS: Final = 3
"""So many times as long as a process has to start on a quiet machine it may take here."""
PATIENCE: Final = {
    # Orders that nobody pays, and reservations that nobody hears of, end while the run lasts.
    "ORDERWRIGHT_ORDER_PAYMENT_TIMEOUT_S": "45",
    "ORDERWRIGHT_ORDER_RESERVATION_TIMEOUT_S": "60",
    "ORDERWRIGHT_IDENTITY_ARGON2_MEMORY_KIB": "8",
    "ORDERWRIGHT_IDENTITY_ARGON2_TIME_COST": "1",
    # Customers who insist are the load, not an attack.
    **{f"ORDERWRIGHT_GATEWAY_{who}_PER_MINUTE": "0" for who in ("CALLER", "ADDRESS", "LOGIN")},
    "ORDERWRIGHT_LOG_FORMAT": "json",
}


class Wired(Fleet):
    """A fleet whose members each have links of their own."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        super().__init__(folder, servers.database_url, servers.broker_url(servers.broker.port), settings=PATIENCE)
        self._servers = servers
        self._in_front = {f"{end}:{service}": free_port() for end in (DATABASE, DOOR) for service in SERVICES}

    def places(self) -> dict[str, Place]:
        """Where each link begins and ends."""
        ends = dict[str, Place]()
        for service in SERVICES:
            here, said = self._servers.doors[service]
            database, door = f"{DATABASE}:{service}", f"{DOOR}:{service}"
            ends[f"{BROKER}:{service}"] = Place(said, here)
            ends[database] = Place(self._in_front[database], self._servers.postgres.port)
            ends[door] = Place(self._in_front[door], self.of(service)[0].ports[service])
        return ends

    def start(self) -> None:
        # The first one of all makes the secret that the others share.
        first, *others = self.members
        first.start(self._links_of(first))
        _wait_for(first)
        for member in others:
            member.start(self._links_of(member))
        for member in others:
            _wait_for(member)

    def _links_of(self, member: Member) -> Mapping[str, str]:
        [service] = member.services
        found = {
            f"ORDERWRIGHT_{name.upper()}_URL": f"http://127.0.0.1:{self._in_front[f'{DOOR}:{name}']}"
            for name in SERVICES
        }
        if service in SERVICES:
            direct = f":{self._servers.postgres.port}/"
            database = self._servers.database_url.replace(direct, f":{self._in_front[f'{DATABASE}:{service}']}/")
            broker = self._servers.broker_url(self._servers.doors[service][1])
            found |= {"ORDERWRIGHT_DATABASE_URL": database, "ORDERWRIGHT_BROKER_URL": broker}
        return found


def _wait_for(member: Member) -> None:
    """Until it answers. DidNotStart when it ended, or had its time `STARTS` times: the machine may have much to do."""
    for left in reversed(range(STARTS)):
        try:
            member.until_ready()
        except DidNotStart:
            if not left or not member.running:
                raise
        else:
            break


@dataclass
class Keeper:
    """Starts again what ended by itself; what is down on purpose is left alone."""

    fleet: Fleet
    down: set[str] = field(default_factory=set)
    """Services that are down on purpose."""
    ended: Counter[str] = field(default_factory=Counter)
    """Processes that ended by themselves, with their exit status."""

    async def keep(self) -> None:
        """Look after the processes until cancelled."""
        while True:
            for member in self.fleet.members:
                [service] = member.services
                if service not in self.down and not member.running:
                    self.ended[f"{service} with status {member.wait()}"] += 1
                    member.start()
            await asyncio.sleep(LOOK_EVERY_S)

    def kill(self, service: str) -> None:
        """End a process at this instant, and leave it down."""
        self.down.add(service)
        [member] = self.fleet.of(service)
        if member.running:
            member.signal(signal.SIGKILL)

    async def bring_back(self, service: str) -> None:
        """Start what was killed, and wait until it answers; one that ends at once is tried again."""
        [member] = self.fleet.of(service)
        await asyncio.to_thread(member.kill)
        member.start()
        self.down.discard(service)
        with suppress(DidNotStart):
            await asyncio.to_thread(member.until_ready)
