"""Breakers, retries and time limits, on a clock that moves when told."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import pytest

from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.errors import BusinessError, NotFound, TooManyRequests, Unavailable
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
    closed = {"name": "payment", "state": "closed", "failures": 0, "opened_at": None, "retry_tokens": 10.0}
    assert breaker.snapshot() == closed


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


def opened(clock: FrozenClock) -> Breaker:
    """A breaker that has just opened, for 5 s."""
    breaker = Breaker("payment", clock=clock, failures_to_open=1, open_for_s=5)
    breaker.failed(breaker.enter())
    assert breaker.state is BreakerState.OPEN
    return breaker


async def test_of_many_callers_one_probes_and_the_others_are_refused() -> None:
    clock, probes, answered = FrozenClock(), 0, asyncio.Event()
    breaker = opened(clock)
    clock.advance(5)

    async def probe() -> str:
        nonlocal probes
        probes += 1
        await answered.wait()
        return "well"

    calls = [
        asyncio.create_task(call(probe, breaker=breaker, timeout_s=60, clock=clock, ids=SeededIds(), retryable=True))
        for _ in range(10)
    ]
    refused, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
    answered.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert probes == 1
    assert results.count("well") == 1
    assert sum(isinstance(result, Unavailable) for result in results) == 9 == len(refused)
    assert breaker.snapshot()["state"] == "closed"


def test_failures_that_lie_far_apart_do_not_open_it() -> None:
    clock = FrozenClock()
    breaker = Breaker("x", clock=clock, failures_to_open=3, window_s=30)
    for _ in range(10):
        breaker.failed(breaker.enter())
        clock.advance(15.1)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.snapshot()["failures"] == 1


def test_an_answer_between_failures_begins_the_count_anew() -> None:
    breaker = Breaker("x", clock=FrozenClock(), failures_to_open=3)
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        outcome(breaker.enter())
    assert breaker.snapshot()["state"] == "closed"
    breaker.failed(breaker.enter())
    assert breaker.snapshot()["state"] == "open"


LATE: dict[str, Callable[[Breaker, int | None], None]] = {
    "an answer": Breaker.succeeded,
    "a failure": Breaker.failed,
    "a caller who left": Breaker.abandoned,
}


@pytest.mark.parametrize("outcome", LATE.values(), ids=LATE)
@pytest.mark.parametrize("names_its_era", [True, False])
def test_a_call_from_before_it_opened_does_not_move_an_open_breaker(
    outcome: Callable[[Breaker, int | None], None], names_its_era: bool
) -> None:
    clock = FrozenClock()
    breaker = Breaker("x", clock=clock, failures_to_open=1, open_for_s=5)
    slow = breaker.enter()
    breaker.failed(breaker.enter())
    clock.advance(4)
    outcome(breaker, slow if names_its_era else None)
    assert breaker.snapshot()["state"] == "open"
    clock.advance(1)
    assert breaker.enter() > slow


@pytest.mark.parametrize("outcome", LATE.values(), ids=LATE)
def test_a_call_from_before_it_opened_does_not_take_the_probes_place(
    outcome: Callable[[Breaker, int | None], None],
) -> None:
    clock = FrozenClock()
    breaker = Breaker("x", clock=clock, failures_to_open=1, open_for_s=5)
    slow = breaker.enter()
    breaker.failed(breaker.enter())
    clock.advance(5)
    probe = breaker.enter()
    outcome(breaker, slow)
    assert breaker.snapshot()["state"] == "half_open"
    with pytest.raises(Unavailable):
        breaker.enter()
    breaker.succeeded(probe)
    assert breaker.snapshot()["state"] == "closed"


def test_every_change_is_told_once() -> None:
    clock, told = FrozenClock(), list[tuple[str, str]]()
    breaker = Breaker(
        "payment", clock=clock, failures_to_open=2, on_change=lambda name, state: told.append((name, state.value))
    )
    for outcome in (breaker.succeeded, breaker.failed, breaker.failed):
        outcome(breaker.enter())
    clock.advance(5)
    breaker.failed(breaker.enter())
    clock.advance(5)
    breaker.succeeded(breaker.enter())
    assert told == [("payment", state) for state in ("open", "half_open", "open", "half_open", "closed")]


@pytest.mark.parametrize(
    ("waited_s", "retry_after_s"),
    [
        pytest.param(0, 5, id="the whole time"),
        pytest.param(2.6, 3, id="rounded up, for who comes early is refused again"),
        pytest.param(4.9, 1, id="never 0"),
    ],
)
def test_a_refusal_says_when_to_come_again(waited_s: float, retry_after_s: int) -> None:
    clock = FrozenClock()
    breaker = opened(clock)
    clock.advance(waited_s)
    with pytest.raises(Unavailable) as refusal:
        breaker.enter()
    assert (refusal.value.status, refusal.value.problem_type) == (503, "service-unavailable")
    assert refusal.value.retry_after_s == retry_after_s


def test_while_a_probe_is_long_under_way_others_are_told_to_come_again_shortly() -> None:
    clock = FrozenClock()
    breaker = opened(clock)
    clock.advance(60)
    breaker.enter()
    with pytest.raises(Unavailable) as refusal:
        breaker.enter()
    assert refusal.value.retry_after_s == 1


def test_one_failed_probe_is_enough_however_old_the_other_failures() -> None:
    clock = FrozenClock()
    breaker = Breaker("x", clock=clock, failures_to_open=3, window_s=30, open_for_s=60)
    for _ in range(3):
        breaker.failed(breaker.enter())
    clock.advance(60)
    breaker.failed(breaker.enter())
    assert breaker.snapshot()["state"] == "open"


def test_while_nobody_probes_no_outcome_counts() -> None:
    clock = FrozenClock()
    breaker = opened(clock)
    clock.advance(5)
    breaker.abandoned(breaker.enter())
    breaker.failed()
    breaker.succeeded()
    assert breaker.snapshot()["state"] == "half_open"


def test_operators_see_since_when_it_is_open() -> None:
    clock = FrozenClock()
    breaker = opened(clock)
    clock.advance(3)
    seen = breaker.snapshot()
    assert (seen["state"], seen["failures"], seen["opened_at"]) == ("open", 1, "2026-01-01T00:00:00.000000Z")


async def test_what_an_open_breaker_refuses_is_not_tried_again() -> None:
    clock = FrozenClock()
    breaker = opened(clock)
    tokens = breaker.snapshot()["retry_tokens"]
    with pytest.raises(Unavailable, match="left alone"):
        await call(works, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=True)
    assert clock.monotonic_s() == 0
    assert breaker.snapshot()["retry_tokens"] == tokens


async def test_the_failure_that_opens_it_is_not_tried_again() -> None:
    clock = FrozenClock()
    breaker = Breaker("x", clock=clock, failures_to_open=1)
    with pytest.raises(Unavailable, match="down"):
        await call(fails, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=True)
    assert clock.monotonic_s() == 0


async def test_a_retry_waits_as_its_policy_says_and_its_answer_counts() -> None:
    clock, asked_at_s = FrozenClock(), list[float]()

    async def recovers() -> str:
        asked_at_s.append(clock.monotonic_s())
        if len(asked_at_s) < 3:
            raise Unavailable("down")
        return "well"

    answer = await call(
        recovers,
        breaker=Breaker("x", clock=clock),
        timeout_s=1,
        clock=clock,
        ids=SeededIds(),
        retryable=True,
        backoff=Backoff(first_s=1, factor=3, max_s=60, attempts=3, jitter=0),
    )
    assert answer == "well"
    assert asked_at_s == [0, 1, 4]


async def test_in_an_outage_retries_stay_a_tenth_of_the_calls() -> None:
    clock, asked = FrozenClock(), 0

    async def counted() -> None:
        nonlocal asked
        asked += 1
        raise Unavailable("down")

    breaker = Breaker("x", clock=clock, failures_to_open=10_000)
    for _ in range(1000):
        with pytest.raises(Unavailable):
            await call(counted, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=True)
    assert 1100 <= asked <= 1125


async def test_a_cancelled_wait_between_attempts_ends_the_call() -> None:
    class StoppedClock(FrozenClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    clock = StoppedClock()
    breaker = Breaker("x", clock=clock)
    task = asyncio.create_task(call(fails, breaker=breaker, timeout_s=60, clock=clock, ids=SeededIds(), retryable=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert breaker.snapshot()["failures"] == 1


class ProcessEnds(BaseException):
    """Neither an answer nor a failure."""


@pytest.mark.parametrize("ending", [asyncio.CancelledError, ProcessEnds])
async def test_a_probe_that_ends_without_an_outcome_leaves_its_place(ending: type[BaseException]) -> None:
    clock = FrozenClock()
    breaker = opened(clock)
    clock.advance(5)

    async def ends() -> NoReturn:
        raise ending

    with pytest.raises(ending):
        await call(ends, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=True)
    assert breaker.snapshot()["state"] == "half_open"
    assert await call(works, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=True) == "well"


@pytest.mark.parametrize(
    ("error", "failures"),
    [
        pytest.param(NotFound("no"), 0, id="a refusal is an answer"),
        pytest.param(TooManyRequests("slower"), 0, id="so is asking us to slow down"),
        pytest.param(Unavailable("down"), 1, id="503"),
        pytest.param(ConnectionRefusedError(), 1, id="nobody there"),
        pytest.param(TimeoutError(), 1, id="a time limit inside"),
    ],
)
async def test_only_faults_count_as_failures(error: Exception, failures: int) -> None:
    clock = FrozenClock()
    breaker = Breaker("x", clock=clock, failures_to_open=5)

    async def raises() -> NoReturn:
        raise error

    expected = type(error) if isinstance(error, BusinessError) else Unavailable
    with pytest.raises(expected):
        await call(raises, breaker=breaker, timeout_s=1, clock=clock, ids=SeededIds(), retryable=False)
    assert breaker.snapshot()["failures"] == failures


async def test_a_business_error_is_never_tried_again() -> None:
    clock, asked = FrozenClock(), 0

    async def refuses() -> NoReturn:
        nonlocal asked
        asked += 1
        raise NotFound("no")

    with pytest.raises(NotFound):
        await call(
            refuses, breaker=Breaker("x", clock=clock), timeout_s=1, clock=clock, ids=SeededIds(), retryable=True
        )
    assert asked == 1
