"""Who is carried out together, and who waits for company first."""

import asyncio
from collections.abc import Sequence

import pytest

from orderwright.kernel.batching import Gathered
from orderwright.kernel.errors import BrokerUnavailable, DatabaseUnavailable, Unavailable
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


def gathered_that_fails(calls: list[Sequence[int]], error: Exception) -> Gathered[int, int]:
    async def fail_with_seven(batch: Sequence[int]) -> Sequence[int]:
        calls.append(batch)
        if 7 in batch:
            raise error
        return batch

    return Gathered(fail_with_seven)


async def test_a_batch_that_one_of_them_spoils_is_done_again_one_by_one() -> None:
    calls: list[Sequence[int]] = []
    gathered = gathered_that_fails(calls, ValueError("seven"))
    outcomes = await asyncio.gather(*(gathered.submit(number) for number in (6, 7, 8)), return_exceptions=True)
    assert [repr(outcome) for outcome in outcomes] == ["6", "ValueError('seven')", "8"]
    assert calls == [[6, 7, 8], [6], [7], [8]]


@pytest.mark.parametrize(
    "error",
    [Unavailable("away"), DatabaseUnavailable("away"), BrokerUnavailable("away")],
    ids=lambda e: type(e).__name__,
)
async def test_what_is_away_is_away_for_all_of_them_and_not_asked_for_each(error: Exception) -> None:
    calls: list[Sequence[int]] = []
    gathered = gathered_that_fails(calls, error)
    outcomes = await asyncio.gather(*(gathered.submit(number) for number in (6, 7, 8)), return_exceptions=True)
    assert outcomes == [error] * 3
    assert calls == [[6, 7, 8]]
    assert await gathered.submit(9) == 9
