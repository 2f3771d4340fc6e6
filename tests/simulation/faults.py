"""What may go wrong in a run, and how often: drawn from the seed, different for every seed.

Each run draws which kinds of fault it knows at all (most know about half of them), because faults that always come
together hide each other. Each kind has dice of its own: switching one kind off leaves the others' throws as they were,
which is what makes a failing seed shrink.

Most worlds are small: one order, little time. They find nearly everything, cost half as much, and are told shortly. One
in `LARGE_EVERY` has several orders that stand in each other's way, and a long time for faults to meet.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

RATES: Mapping[str, tuple[float, float]] = {
    # database: at each transaction or statement
    "db refuses": (0.005, 0.05),
    "db fails at a statement": (0.002, 0.02),
    "db fails at commit": (0.005, 0.05),
    "db commits and does not say so": (0.005, 0.08),
    "db is slow": (0.005, 0.05),
    # processes: at each point between receive and acknowledge, and by time
    "crash at a statement": (0.0005, 0.004),
    "crash before commit": (0.001, 0.01),
    "crash after commit": (0.002, 0.02),
    "crash after receive": (0.002, 0.03),
    "crash before acknowledge": (0.002, 0.03),
    "crash after publish": (0.002, 0.03),
    "crash in a provider call": (0.01, 0.1),
    "crash": (0.05, 0.5),
    "crash of everything": (0.05, 0.4),
    "redeploy": (0.05, 0.4),
    "pause": (0.05, 0.4),
    "clock jump": (0.05, 0.4),
    # the services' own code: from a moment on, for a while
    "handler fails": (0.01, 0.06),
    # broker
    "message twice": (0.02, 0.4),
    "message late": (0.02, 0.3),
    "messages out of order": (0.1, 0.9),
    "message again while handled": (0.01, 0.2),
    "acknowledgement lost": (0.01, 0.2),
    "publish refused": (0.01, 0.1),
    "publish half done": (0.01, 0.15),
    "broker outage": (0.05, 0.3),
    # network between clients, services and services
    "request lost": (0.01, 0.1),
    "answer lost": (0.01, 0.15),
    "network slow": (0.01, 0.2),
    "client goes away": (0.02, 0.3),
    # outside
    "provider down": (0.02, 0.3),
    "provider never hears": (0.02, 0.3),
    "provider does not answer": (0.02, 0.4),
    "provider acts late": (0.02, 0.3),
    "provider slow": (0.05, 0.5),
    "mail refused": (0.02, 0.3),
    "mail taken, not confirmed": (0.02, 0.3),
}
"""Kinds of fault, with the least and the most likely rate for each opportunity."""
BY_TIME = frozenset({"crash", "crash of everything", "redeploy", "pause", "clock jump", "broker outage"})
"""These have no opportunity of their own; they are drawn once in so many virtual seconds."""
LARGE_EVERY = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """What one seed is about."""

    seed: int
    orders: int
    chaos_s: float
    rates: Mapping[str, float]
    replicas: Mapping[str, int]
    exclusive: bool
    """Whether a starting process may take for granted that it is alone at its database."""
    durable: bool
    """Whether the broker keeps messages when everything crashes."""
    novelty: bool
    """Whether a product comes into the catalog while orders come in."""
    thorough: bool
    """Whether everything is done also where a look shows that there is no work (see `idling`)."""

    def without(self, kind: str) -> "Plan":
        """The same with one kind of fault less."""
        return replace(self, rates={name: rate for name, rate in self.rates.items() if name != kind})


def draw_plan(seed: int) -> Plan:
    """The plan that belongs to `seed`."""
    dice = random.Random(f"plan {seed}")
    share = dice.choice((0.0, 0.15, 0.3, 0.5, 0.7))
    rates = {kind: dice.uniform(*span) for kind, span in RATES.items() if dice.random() < share}
    exclusive = dice.random() < 0.5
    shared = ("order", "payment", "inventory", "shipping", "notification")
    twice = [] if exclusive else [name for name in shared if dice.random() < 0.15]
    large = dice.randrange(LARGE_EVERY) == 0
    return Plan(
        seed=seed,
        orders=dice.choice((1, 2, 2, 3, 4) if large else (1, 1, 1, 1, 1, 1, 2)),
        chaos_s=dice.uniform(8, 30) if large else dice.uniform(2, 7),
        rates=rates,
        replicas=dict.fromkeys(twice, 2),
        exclusive=exclusive,
        durable=dice.random() < 0.7,
        thorough=dice.random() < 1 / 16,
        novelty=large or dice.random() < 1 / 4,
    )


class Faults:
    """The dice of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.on = False
        """Only while the chaos lasts."""
        self._dice: dict[str, random.Random] = {}

    def strikes(self, kind: str) -> bool:
        """Whether this goes wrong here and now."""
        rate = self.plan.rates.get(kind)
        if rate is None or not self.on:
            return False
        return self.dice(kind).random() < rate

    def dice(self, kind: str) -> random.Random:
        """Chance that belongs to `kind` alone."""
        found = self._dice.get(kind)
        if found is None:
            found = self._dice[kind] = random.Random(f"{kind} {self.plan.seed}")
        return found
