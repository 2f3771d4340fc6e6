"""What can go wrong, and a seeded list of when it does.

Invariant: the same seed, length and broker give the same list. What a fault meets depends on the machine; whether, when
and where it strikes does not.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orderwright.services import PORTS

GATEWAY: Final = "gateway"
SERVICES: Final = tuple(name for name in PORTS if name != GATEWAY)
DATABASE, BROKER, DOOR = "database", "broker", "door"
LINKS: Final = tuple(f"{end}:{service}" for end in (DATABASE, BROKER, DOOR) for service in SERVICES)
"""Service to its database, service to the broker, and the gateway (or another service) to a service."""
BUSY: Final = ("order", "payment", "inventory")
"""Where money and goods are; they are struck twice as often as the others."""
MEAN_GAP_S: Final = 5.0
SERVERS_REST_S: Final = 30.0
"""So far apart are two faults of the servers, or nothing would be seen but their starts: Kafka takes its time."""
FIRST_AFTER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to fail."""

    does: str
    where: str
    """`link`, `database-link`, `process`, or `server`."""
    lasts_s: tuple[float, float]
    weight: int


KINDS: Final[dict[str, Kind]] = {
    "latency": Kind("everything on a link takes 50 to 500 ms longer", "link", (2, 8), 3),
    "cut": Kind("every connection of a link ends", "link", (0, 0), 3),
    "silence": Kind("a link accepts and passes nothing on, then goes on", "link", (2, 15), 3),
    "forgotten": Kind("the connections of a link are silent for ever; new ones work", "link", (0, 0), 2),
    "torn": Kind("a connection is reset in the middle of a message", "link", (0, 10), 3),
    "unanswered": Kind("a request goes through, its answer does not", "link", (0, 10), 3),
    "commit_unanswered": Kind("a COMMIT goes through, its answer does not", "database-link", (0, 15), 6),
    "kill": Kind("a process is killed", "process", (0, 4), 4),
    "kill_before_commit": Kind("a process is killed when it says COMMIT, which is lost", "process", (0, 4), 3),
    "kill_after_commit": Kind("a process is killed when its COMMIT has gone through", "process", (0, 4), 4),
    "pause": Kind("a process is stopped, and continued", "process", (2, 20), 3),
    "database_restart": Kind("PostgreSQL is restarted", "server", (0, 0), 1),
    "database_kill": Kind("PostgreSQL is killed and started again", "server", (0, 4), 2),
    "broker_restart": Kind("the broker is restarted", "server", (0, 0), 1),
    "broker_kill": Kind("the broker is killed and started again", "server", (0, 4), 2),
    "disk_full": Kind("PostgreSQL's disk is full", "server", (2, 6), 1),
}
DATABASE_SERVER, BROKER_SERVER = "postgres", "broker-server"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: when it begins, what, where, for how long, and one drawn number between 0 and 1 for its strength."""

    at_s: float
    kind: str
    target: str
    lasts_s: float
    strength: float

    def told(self) -> str:
        """In one line."""
        return f"{self.at_s:7.1f} s  {self.kind:<18} {self.target:<22} {self.lasts_s:.1f} s"


def schedule(seed: int, length_s: float, kinds: Iterable[str] = KINDS) -> list[Fault]:
    """The faults of a run of `length_s`, in the order in which they begin."""
    dice = random.Random(seed)
    names = sorted(kinds)
    weights = [KINDS[name].weight for name in names]
    faults: list[Fault] = []
    at_s, server_at_s = FIRST_AFTER_S, -SERVERS_REST_S
    while at_s < length_s:
        [name] = dice.choices(names, weights)
        if KINDS[name].where == "server":
            if at_s < server_at_s + SERVERS_REST_S:
                at_s += dice.expovariate(1 / MEAN_GAP_S)
                continue
            server_at_s = at_s
        target = _target(dice, name)
        lasts_s = round(dice.uniform(*KINDS[name].lasts_s), 2)
        faults.append(Fault(round(at_s, 2), name, target, lasts_s, round(dice.random(), 3)))
        at_s += dice.expovariate(1 / MEAN_GAP_S)
    return faults


def _target(dice: random.Random, name: str) -> str:
    match KINDS[name].where:
        case "link":
            return f"{dice.choice((DATABASE, BROKER, DOOR))}:{_service(dice)}"
        case "database-link":
            return f"{DATABASE}:{_service(dice)}"
        case "process":
            # The gateway has no database to say COMMIT to.
            says_commit = name.startswith("kill_")
            return _service(dice) if says_commit or dice.random() > 0.1 else GATEWAY
        case _:
            return BROKER_SERVER if name.startswith("broker") else DATABASE_SERVER


def _service(dice: random.Random) -> str:
    return dice.choice(SERVICES + BUSY)
