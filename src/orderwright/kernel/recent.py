"""What this process committed a moment ago, so that it need not be read again.

It is no cache of the truth: another process may have changed what is kept here. Invariant: whoever works with it writes
so that the write fails when what was kept is not what is there any more (see `databases.optimistic`), and then does
everything again from what is read. Few are kept, and not for long; none while others are seen to change them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from orderwright.kernel.clock import Clock

KEEP_FOR_S = 60.0
KEEP_MOST = 2000

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by their keys, as they were when this process last wrote them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._keep_from_s = clock.monotonic_s()

    def among(self, keys: Iterable[str]) -> dict[str, T]:
        """What is kept of these keys."""
        since_s = self._clock.monotonic_s() - KEEP_FOR_S
        found = ((key, self._kept.get(key)) for key in keys)
        return {key: kept[1] for key, kept in found if kept is not None and kept[0] >= since_s}

    def keep(self, values: Mapping[str, T]) -> None:
        """These were just committed."""
        now_s = self._clock.monotonic_s()
        if now_s < self._keep_from_s:
            return
        for key, value in values.items():
            self._kept[key] = now_s, value
            self._kept.move_to_end(key)
        while len(self._kept) > KEEP_MOST:
            self._kept.popitem(last=False)

    def forget(self, keys: Iterable[str]) -> None:
        """These will hardly be asked for again, or were changed in another way."""
        for key in keys:
            self._kept.pop(key, None)

    def distrust(self) -> None:
        """Something that was kept is not what is there: another process works on the same. Keep nothing for a while.

        Otherwise most of what both work on would be done twice.
        """
        self._kept.clear()
        self._keep_from_s = self._clock.monotonic_s() + KEEP_FOR_S
