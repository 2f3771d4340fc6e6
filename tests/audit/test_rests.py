"""The auditor beside customers: the less time the process has to spare, the longer it rests."""

import pytest

from orderwright.audit.watch import Rests
from orderwright.kernel.clock import FrozenClock


class Busy(FrozenClock):
    """A clock of a process that is busy for a share of all time."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def used_s(self) -> float:
        return self.monotonic_s() * self.share

    async def rested_s(self, rests: Rests, took_s: float) -> float:
        """How long a rest takes after a page that took so long."""
        began_s = self.monotonic_s()
        await rests.rest(took_s)
        return self.monotonic_s() - began_s


@pytest.mark.parametrize(
    ("share", "times"),
    [(0.0, 3), (0.5, 6), (0.8, 15), (1.0, 60), (2.5, 60)],
    ids=["quiet", "half busy", "four fifths busy", "wholly busy", "busy on several processors"],
)
async def test_a_busy_process_is_audited_more_slowly(share: float, times: float) -> None:
    clock = Busy(share)
    rests = Rests(clock, 3, clock.used_s)
    assert await clock.rested_s(rests, 0.1) == pytest.approx(0.3), "nothing is known yet"
    assert await clock.rested_s(rests, 0.1) == pytest.approx(0.1 * times)


async def test_it_is_quick_again_when_the_rush_is_over() -> None:
    clock = Busy(1.0)
    rests = Rests(clock, 3, clock.used_s)
    await rests.rest(0.1)
    clock.share = 0.0
    await rests.rest(0.1)
    assert await clock.rested_s(rests, 0.1) == pytest.approx(0.3)


async def test_without_rests_it_goes_on_at_once() -> None:
    clock = Busy(0.5)
    assert await clock.rested_s(Rests(clock, 0, clock.used_s), 0.1) == 0
