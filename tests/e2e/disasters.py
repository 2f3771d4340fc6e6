"""What happens to an installation while it works: each process is killed, and so are its broker and its database."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.brokers import own_server
from tools.fleet import Fleet, Member


@dataclass(frozen=True, slots=True)
class Disaster:
    """Something that goes down and is there again when `happen` returns."""

    name: str
    happen: Callable[[], Awaitable[None]]


def disasters(fleet: Fleet, broker: str, seed: int) -> Sequence[Disaster]:
    """One copy of each service killed, one after the other; the broker and the database between them."""
    dice = random.Random(seed)
    groups = dict.fromkeys(member.services for member in fleet.members)
    deaths = [_death(dice.choice(fleet.of(group[0]))) for group in groups]
    third = len(deaths) // 3
    return [
        *deaths[:third],
        _restart(broker),
        *deaths[third : 2 * third],
        _restart("postgres"),
        *deaths[2 * third :],
    ]


def _death(member: Member) -> Disaster:
    async def happen() -> None:
        member.kill()
        member.start()
        await asyncio.to_thread(member.until_ready)

    return Disaster(f"{member.name} killed", happen)


def _restart(kind: str) -> Disaster:
    server = own_server(kind)

    async def happen() -> None:
        await asyncio.to_thread(server.restart, kill=True)

    return Disaster(f"{kind} killed", happen)


async def timed(disaster: Disaster) -> float:
    """Let it happen; answers how many seconds it took until all was there again."""
    began_s = time.monotonic()
    await disaster.happen()
    return time.monotonic() - began_s
