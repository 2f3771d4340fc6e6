"""What a check is: ids of what there is to look at, a page at a time, and a look at some of them.

Invariant: the first look and every later one are the same function of the ids, so what is judged again is judged by the
same law on what the books say then.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from orderwright.audit.findings import Finding


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something that does not add up at this moment."""

    id: str
    mark: str
    """A digest of every row that the judgement rests on: the same mark means that nothing moved in between."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """When a look is taken, and what is too young to be judged at it."""

    now: datetime
    settled_before: datetime
    """What changed after this is under way."""
    overdue_before: datetime
    """What has waited since before this waits too long."""

    @classmethod
    def at(cls, now: datetime, *, grace_s: float, overdue_s: float) -> "Moment":
        """The moment `now`, seen with that much patience."""
        return cls(now, now - timedelta(seconds=grace_s), now - timedelta(seconds=overdue_s))


class Settling(Enum):
    """How long something must look wrong until it is wrong."""

    AT_ONCE = "at once"
    """One snapshot of one database tells it all."""
    SOON = "soon"
    """Its rows carry the time of their last change, and what is young was left out: a settle time is enough."""
    SLOWLY = "slowly"
    """Nothing tells since when it looks wrong: it must do so, unchanged, for the whole grace."""


class Check(Protocol):
    """One kind of things that are looked at."""

    settling: Settling

    name: str
    """What is counted: orders, charges, …"""

    def pages(self, moment: Moment) -> AsyncIterator[Sequence[str]]:
        """The ids of everything there is to look at and was there at that moment.

        What is made meanwhile is the next audit's, or an audit would never end where orders come faster than it reads.
        A page is empty when something was read, and nothing of it is to be looked at: the auditor rests after each.
        """

    async def look(self, ids: Sequence[str], moment: Moment) -> list[Suspect]:
        """Those of `ids`, one at least, that do not add up now, without those that are too young."""


def mark_of(*rows: object) -> str:
    """A digest of rows as they were read."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()
