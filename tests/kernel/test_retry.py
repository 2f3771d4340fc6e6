"""Retry policies: how long each wait is, where it ends, and that nonsense cannot be one."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.retry import RETRY_CALLS, RETRY_EFFECTS, RETRY_MESSAGES, Backoff


def test_a_backoff_grows_stays_below_its_limit_and_ends() -> None:
    policy = Backoff(first_s=1, factor=2, max_s=5, attempts=4)
    assert [policy.delay_s(attempt, 1.0) for attempt in (1, 2, 3, 4)] == [1, 2, 4, None]
    assert Backoff(1, 2, 5, None).delay_s(10_000, 1.0) == 5


@pytest.mark.parametrize("bad", [(0, 2, 5, 3), (1, 0.5, 5, 3), (2, 2, 1, 3), (1, 2, 5, 0)])
def test_nonsense_cannot_be_a_policy(bad: tuple[float, float, float, int]) -> None:
    with pytest.raises(ConfigurationError):
        Backoff(*bad)


@pytest.mark.parametrize(
    ("jitter", "random01", "waits"),
    [
        pytest.param(0.0, 0.9, [1, 2, 4], id="without jitter chance decides nothing"),
        pytest.param(0.5, 0.0, [0.5, 1, 2], id="at least half, by default"),
        pytest.param(0.5, 0.5, [0.75, 1.5, 3], id="and spread above"),
        pytest.param(1.0, 0.0, [0, 0, 0], id="with full jitter perhaps at once"),
        pytest.param(1.0, 1.0, [1, 2, 4], id="and never longer than without"),
    ],
)
def test_chance_decides_the_share_of_a_wait_that_it_is_given(
    jitter: float, random01: float, waits: list[float]
) -> None:
    policy = Backoff(first_s=1, factor=2, max_s=60, attempts=None, jitter=jitter)
    assert [policy.delay_s(attempt, random01) for attempt in (1, 2, 3)] == waits


@settings(deadline=None)
@given(
    first_s=st.floats(0.001, 10),
    factor=st.floats(1, 1e6),
    attempt=st.integers(1, 10**9),
    random01=st.floats(0, 1, exclude_max=True),
)
def test_no_wait_is_ever_longer_than_the_limit_however_old_the_failure(
    first_s: float, factor: float, attempt: int, random01: float
) -> None:
    delay_s = Backoff(first_s, factor, 10, None).delay_s(attempt, random01)
    assert delay_s is not None
    assert first_s * 0.499 <= delay_s <= 10


def test_half_of_a_wait_is_left_to_chance_unless_somebody_says_otherwise() -> None:
    assert Backoff(1, 2, 60, None).delay_s(1, 0.0) == 0.5


def test_a_slowly_growing_wait_reaches_its_limit_too() -> None:
    assert Backoff(1, 1.01, 100, None, jitter=0).delay_s(1000, 0.5) == 100


def test_the_last_attempt_is_followed_by_none() -> None:
    policy = Backoff(1, 2, 10, attempts=3)
    assert policy.delay_s(2, 0) is not None
    assert policy.delay_s(3, 0) is None
    assert policy.delay_s(4, 0) is None
    assert Backoff(1, 2, 10, attempts=1).delay_s(1, 0) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        pytest.param({"first_s": 0}, "longer than 0 s", id="no wait"),
        pytest.param({"first_s": -1}, "longer than 0 s", id="a wait into the past"),
        pytest.param({"first_s": math.nan}, "longer than 0 s", id="NaN compares as false"),
        pytest.param({"first_s": 61}, "at most max_s", id="first longer than the longest"),
        pytest.param({"max_s": math.inf}, "at most max_s", id="no limit"),
        pytest.param({"max_s": math.nan}, "at most max_s", id="limit NaN"),
        pytest.param({"factor": 0.99}, "never gets shorter", id="shrinking"),
        pytest.param({"factor": math.nan}, "never gets shorter", id="factor NaN"),
        pytest.param({"factor": math.inf}, "never gets shorter", id="factor infinite"),
        pytest.param({"attempts": 0}, "at least one attempt", id="no attempt"),
        pytest.param({"jitter": -0.1}, "from 0 to 1", id="jitter below 0 makes waits longer"),
        pytest.param({"jitter": 1.1}, "from 0 to 1", id="jitter above 1 makes waits negative"),
        pytest.param({"jitter": math.nan}, "from 0 to 1", id="jitter NaN"),
    ],
)
def test_a_policy_that_makes_no_sense_cannot_be_built(changed: dict[str, float], reason: str) -> None:
    sound = {"first_s": 1, "factor": 2, "max_s": 60, "attempts": 3, "jitter": 0.5}
    with pytest.raises(ConfigurationError, match=reason):
        Backoff(**{**sound, **changed})  # type: ignore[arg-type]


def test_a_message_is_tried_eight_times_within_ten_minutes() -> None:
    waits = [RETRY_MESSAGES.delay_s(attempt, 1.0) for attempt in range(1, 9)]
    assert waits[0] == 0.2
    assert waits[-1] is None
    assert waits[-2] == 300
    assert sum(wait for wait in waits if wait is not None) < 600


def test_a_call_is_repeated_once_and_an_effect_until_it_is_done() -> None:
    assert RETRY_CALLS.delay_s(1, 0.5) is not None
    assert RETRY_CALLS.delay_s(2, 0.5) is None
    assert RETRY_EFFECTS.delay_s(1_000_000, 1.0) == 300
