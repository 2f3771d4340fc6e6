"""Safeguards of the real code that can be taken away, to see whether the simulation would notice.

Each ablation patches the real code for as long as it is entered; production code knows nothing of it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ablation:
    """One safeguard, and how to remove it."""

    guards: str
    """What it protects, in one line."""
    removed: Callable[[], AbstractContextManager[None]]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


ABLATIONS: dict[str, Ablation] = {"none": Ablation("nothing: the code as it is", _nothing)}
