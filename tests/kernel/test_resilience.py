"""Breakers, retries and time limits, on a clock that moves when told."""

import asyncio

import pytest

from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.errors import ConfigurationError, NotFound, Unavailable
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.resilience import Breaker, BreakerState, call
from orderwright.kernel.retry import Backoff


async def fails() -> None:
    raise Unavailable("down")


async def works() -> str:
    return "well"


async def test_a_breaker_opens_after_failures_and_lets_one_probe_through() -> None:
    clock = FrozenClock()
    breaker = Breaker("payment", clock=clock, failures_to_open=3, open_for_s=5)
    for _ in range(3):
        with pytest.raises(Unavailable, match="down"):
            await call(fails, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=False)
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(Unavailable) as refusal:
        breaker.enter()
    assert refusal.value.retry_after_s == 5
    clock.advance(5)
    breaker.enter()
    with pytest.raises(Unavailable):
        breaker.enter()
    breaker.succeeded()
    assert breaker.snapshot() == {"name": "payment", "state": "closed", "recent_failures": 0}


async def test_a_failed_probe_opens_it_again_and_an_abandoned_one_frees_the_place() -> None:
    clock = FrozenClock()
    breaker = Breaker("x", clock=clock, failures_to_open=1, open_for_s=5)
    breaker.failed()
    clock.advance(5)
    breaker.enter()
    breaker.abandoned()
    breaker.enter()
    breaker.failed()
    assert breaker.state is BreakerState.OPEN


async def test_refusals_are_no_failures_and_cancelling_says_nothing_of_the_peer() -> None:
    clock = FrozenClock()
    breaker = Breaker("x", clock=clock, failures_to_open=1)

    async def refuses() -> None:
        raise NotFound("no")

    async def hangs() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NotFound):
        await call(refuses, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=True)
    task = asyncio.create_task(call(hangs, breaker=breaker, timeout_s=60, clock=clock, ids=SeededIds(), retryable=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert breaker.state is BreakerState.CLOSED


async def test_only_what_may_be_repeated_is_repeated_and_the_budget_ends_it() -> None:
    clock, tries = FrozenClock(), 0

    async def counted() -> None:
        nonlocal tries
        tries += 1
        raise Unavailable("down")

    breaker = Breaker("x", clock=clock, failures_to_open=1000)
    with pytest.raises(Unavailable):
        await call(counted, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=False)
    assert tries == 1
    for _ in range(100):
        with pytest.raises(Unavailable):
            await call(counted, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=True)
    assert tries - 1 < 100 + 30


async def test_what_takes_too_long_is_unavailable() -> None:
    clock = FrozenClock()

    async def hangs() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Unavailable, match=r"0\.01 s"):
        await call(
            hangs, breaker=Breaker("x", clock=clock), timeout_s=0.01, clock=clock, ids=SeededIds(), retryable=False
        )


def test_a_backoff_grows_stays_below_its_limit_and_ends() -> None:
    policy = Backoff(first_s=1, factor=2, max_s=5, attempts=4)
    assert [policy.delay_s(attempt, 1.0) for attempt in (1, 2, 3, 4)] == [1, 2, 4, None]
    assert Backoff(1, 2, 5, None).delay_s(10_000, 1.0) == 5


@pytest.mark.parametrize("bad", [(0, 2, 5, 3), (1, 0.5, 5, 3), (2, 2, 1, 3), (1, 2, 5, 0)])
def test_nonsense_cannot_be_a_policy(bad: tuple[float, float, float, int]) -> None:
    with pytest.raises(ConfigurationError):
        Backoff(*bad)
