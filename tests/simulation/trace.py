"""The story of a run: what happened, in order, with its virtual time; and how often the hard things happened.

Invariant: the story is made of nothing but what the seed decides, so two runs of a seed have the same digest, in any
process.
"""

import hashlib
from collections import Counter
from collections.abc import Callable


class Trace:
    """Collects the lines of one run."""

    def __init__(self, time_s: Callable[[], float]) -> None:
        self.lines: list[str] = []
        self.reached: Counter[str] = Counter()
        self.handled: Counter[tuple[str, str]] = Counter()
        """How often a service committed what it did with a message, where anybody lived to see it."""
        self.overtaken: list[str] = []
        """Messages that were handled although an earlier one of their line was kept."""
        self._time_s = time_s

    def say(self, who: str, what: str) -> None:
        """One line."""
        self.lines.append(f"{self._time_s():10.4f}  {who:<16} {what}")

    def reach(self, state: str, times: int = 1) -> None:
        """A state that is worth counting was reached."""
        self.reached[state] += times

    def digest(self) -> str:
        """What two runs of the same seed have in common."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()
