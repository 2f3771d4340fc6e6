"""What each customer was told, in the order in which it was told, one JSON line an answer.

Invariant: a line is in the file before the customer does anything else, so a run that is broken off leaves its journal.
"""

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Said:
    """The answer that ended a request; `tries` says how often it was sent."""

    customer: str
    did: str
    """order, pay or cancel."""
    key: str
    """The Idempotency-Key, or the order that was to be cancelled."""
    body: dict[str, Any] | None
    status: int
    order_id: str | None
    """The order that it was about; None where the answer names none."""
    answered_id: str | None
    """The id of what was made: an order, or a payment."""
    began_s: float
    answered_s: float
    tries: int
    problem: str | None = None


class Journal:
    """All answers of a run."""

    def __init__(self, path: Path) -> None:
        self.said: list[Said] = []
        self.unanswered: dict[str, str] = {}
        """What was asked and not answered yet, by its key."""
        self.strange: list[str] = []
        """Answers that nobody should get, such as a 500."""
        self.met: Counter[str] = Counter()
        """What was met on the way to an answer: statuses and broken connections."""
        self._path = path

    def asked(self, key: str, what: str) -> None:
        """Somebody began to ask."""
        self.unanswered[key] = what

    def told(self, said: Said) -> None:
        """Somebody was answered."""
        self.unanswered.pop(said.key if said.did != "cancel" else f"cancel {said.key}", None)
        self.said.append(said)
        with self._path.open("a") as file:
            file.write(json.dumps({**asdict(said), "at": time.time()}) + "\n")

    def of(self, did: str) -> list[Said]:
        """Every answer to one kind of request."""
        return [said for said in self.said if said.did == did]
