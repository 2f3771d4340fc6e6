"""Who is carried out together, and who waits for company first."""

import asyncio
from collections.abc import Sequence

import pytest

from orderwright.kernel.batching import Gathered
from orderwright.kernel.pace import Pace
from tests.kernel.test_pace import Watch

LINGER_S = 0.01


class Desk:
    """Notes who came together; much has just arrived here."""

    def __init__(self, *, enough: int | None = None) -> None:
        self.clock = Watch()
        self.batches: list[Sequence[int]] = []
        pace = Pace(self.clock, busy_per_s=1.0, linger_s=LINGER_S, at_least_s=LINGER_S)
        with pace.batch(10):
            self.gathered: Gathered[int, int] = Gathered(self._note, pace=pace, enough=enough)

    async def _note(self, batch: Sequence[int]) -> Sequence[int]:
        self.batches.append(batch)
        return [2 * number for number in batch]


async def test_those_who_come_together_are_carried_out_together_and_answered_each() -> None:
    desk = Desk()
    assert await asyncio.gather(*(desk.gathered.submit(number) for number in range(3))) == [0, 2, 4]
    assert desk.batches == [[0, 1, 2]]


async def test_where_much_comes_a_few_wait_for_more() -> None:
    desk = Desk()
    await asyncio.gather(desk.gathered.submit(1), desk.gathered.submit(2))
    assert desk.clock.slept == [pytest.approx(LINGER_S)]


async def test_where_a_few_are_enough_only_who_comes_alone_waits() -> None:
    desk = Desk(enough=2)
    await asyncio.gather(desk.gathered.submit(1), desk.gathered.submit(2))
    assert desk.clock.slept == []
    await desk.gathered.submit(3)
    assert desk.clock.slept == [pytest.approx(LINGER_S)]
