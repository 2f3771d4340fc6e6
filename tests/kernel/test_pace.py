"""Who waits for company, and for how long."""

import pytest

from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.feed import Feed
from orderwright.kernel.pace import Pace

BUSY_PER_S = 60.0
LINGER_S = 0.025


class Watch(FrozenClock):
    """A clock that moves when somebody sleeps, and notes for how long they did."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


def heard(pace: Pace, clock: Watch, *, batches: int, size: int, took_s: float) -> None:
    for _ in range(batches):
        with pace.batch(size):
            clock.advance(took_s)


@pytest.fixture
def clock() -> Watch:
    return Watch()


async def test_one_that_comes_alone_never_waits(clock: Watch) -> None:
    pace = Pace(clock, busy_per_s=BUSY_PER_S, linger_s=LINGER_S)
    for _ in range(20):
        heard(pace, clock, batches=1, size=1, took_s=0.01)
        clock.advance(1)
        await pace.linger(full=False)
    assert clock.slept == []


async def test_while_much_comes_one_waits_as_long_as_a_batch_takes(clock: Watch) -> None:
    pace = Pace(clock, busy_per_s=BUSY_PER_S, linger_s=LINGER_S)
    heard(pace, clock, batches=50, size=10, took_s=0.004)
    await pace.linger(full=False)
    assert clock.slept == [pytest.approx(0.004, rel=0.01)]


async def test_who_comes_long_after_much_came_is_alone(clock: Watch) -> None:
    pace = Pace(clock, busy_per_s=BUSY_PER_S, linger_s=LINGER_S)
    heard(pace, clock, batches=50, size=10, took_s=0.004)
    assert pace.busy
    clock.advance(10)
    assert not pace.busy
    await pace.linger(full=False)
    assert clock.slept == []


async def test_nobody_waits_longer_than_the_limit_and_nobody_behind_a_full_batch(clock: Watch) -> None:
    pace = Pace(clock, busy_per_s=BUSY_PER_S, linger_s=LINGER_S)
    heard(pace, clock, batches=50, size=100, took_s=0.2)
    await pace.linger(full=True)
    await pace.linger(full=False)
    assert clock.slept == [LINGER_S]


async def test_where_nobody_is_in_a_hurry_one_waits_the_longest_however_fast_batches_are(clock: Watch) -> None:
    pace = Pace(clock, busy_per_s=BUSY_PER_S, linger_s=0.1, at_least_s=0.1)
    heard(pace, clock, batches=50, size=10, took_s=0.001)
    await pace.linger(full=False)
    assert clock.slept == [0.1]


async def test_a_batch_that_failed_took_its_time_too(clock: Watch) -> None:
    pace = Pace(clock, busy_per_s=BUSY_PER_S, linger_s=LINGER_S)

    def fail() -> None:
        with pace.batch(10):
            clock.advance(0.004)
            raise LookupError

    for _ in range(50):
        with pytest.raises(LookupError):
            fail()
    await pace.linger(full=False)
    assert clock.slept == [pytest.approx(0.004, rel=0.01)]


async def test_a_listener_that_forgets_hears_only_what_comes_after() -> None:
    feed = Feed()
    with feed.listen("order") as listener:
        feed.tell({"order": None})
        listener.forget()
        assert not await listener.wait(0.001)
        feed.tell({"order": None})
        assert await listener.wait(1)


async def test_a_listener_keeps_what_it_was_told_in_words() -> None:
    feed = Feed()
    with feed.listen("order") as listener:
        feed.tell({"order": "reserved", "another": "cancelled"})
        feed.tell({"order": None})
        listener.forget()
        assert await listener.wait(1)
        assert listener.news == "reserved"
