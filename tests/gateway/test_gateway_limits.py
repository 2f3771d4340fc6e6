"""How often somebody may ask, and what they are told about it."""

import asyncio

import pytest

from orderwright.gateway import limits
from orderwright.gateway.limits import LimitReached, RateLimits, retry_after_s
from orderwright.gateway.settings import GatewaySettings
from orderwright.kernel.clock import FrozenClock
from tests.gateway.bench import GatewayBench
from tests.gateway.conftest import OpenBench


async def times(bench: GatewayBench, number: int, path: str = "/api/v1/orders", **call: object) -> list[int]:
    """The statuses of so many requests, one after the other."""
    return [(await bench.call("GET", path, **call)).status for _ in range(number)]  # type: ignore[arg-type]


async def test_a_caller_may_ask_so_often_a_minute_wherever_they_are(open_bench: OpenBench) -> None:
    bench = open_bench(caller_per_minute="3")
    assert await times(bench, 2, client="192.0.2.1") == [200, 200]
    assert await times(bench, 2, client="192.0.2.2") == [200, 429]
    assert await times(bench, 1, caller="customer-2") == [200]
    assert len(bench.heard("order")) == 4


async def test_an_address_may_ask_so_often_whoever_they_are_and_whatever_they_ask(open_bench: OpenBench) -> None:
    bench = open_bench(address_per_minute="4")
    assert await times(bench, 1, caller="customer-1") == [200]
    assert await times(bench, 1, caller=None) == [401]
    assert await times(bench, 1, "/api/v1/nothing") == [404]
    assert await times(bench, 2, "/docs") == [200, 429]
    assert await times(bench, 1, client="192.0.2.2") == [200]


async def test_probes_are_never_limited(open_bench: OpenBench) -> None:
    bench = open_bench(address_per_minute="1")
    assert await times(bench, 3, "/health", caller=None) == [200] * 3
    assert await times(bench, 3, "/metrics", caller=None) == [200] * 3


async def test_an_ipv6_subscriber_is_one_address(open_bench: OpenBench) -> None:
    bench = open_bench(address_per_minute="1")
    assert await times(bench, 1, client="2001:db8::1") == [200]
    assert await times(bench, 1, client="2001:db8::2") == [429]
    assert await times(bench, 1, client="2001:db8:0:1::1") == [200]


async def test_an_invented_forwarded_address_gets_nobody_another_limit(open_bench: OpenBench) -> None:
    bench = open_bench(address_per_minute="2")
    answers = [await bench.call("GET", "/api/v1/orders", headers=[("X-Forwarded-For", f"6.6.6.{n}")]) for n in range(4)]
    assert [got.status for got in answers] == [200, 200, 429, 429]


@pytest.mark.parametrize("path", ["/api/v1/login", "/api/v1/register", "/api/v1/refresh"])
async def test_where_secrets_can_be_guessed_the_limit_is_stricter(open_bench: OpenBench, path: str) -> None:
    bench = open_bench(login_per_minute="2", address_per_minute="100")
    answers = [await bench.call("POST", path, caller=None) for _ in range(3)]
    assert [got.status for got in answers] == [200, 200, 429]
    assert answers[2].json["violated-policies"] == ["login"]
    assert (await bench.call("POST", "/api/v1/login", caller=None)).status == 429, "they share one limit"
    assert (await bench.call("POST", "/api/v1/logout", caller=None)).status == 200


async def test_an_answer_tells_what_is_left_of_each_limit(open_bench: OpenBench) -> None:
    bench = open_bench(caller_per_minute="3", address_per_minute="10")
    bench.clock.advance(20)
    got = await bench.call("GET", "/api/v1/orders")
    assert got.header("ratelimit-policy") == '"address";q=10;w=60, "caller";q=3;w=60'
    assert got.header("ratelimit") == '"address";r=9;t=40, "caller";r=2;t=40'
    public = await bench.call("GET", "/api/v1/products", caller=None)
    assert public.header("ratelimit") == '"address";r=8;t=40'


async def test_a_refusal_tells_when_to_come_back_and_that_is_true(open_bench: OpenBench) -> None:
    bench = open_bench(caller_per_minute="6")
    bench.clock.advance(30)
    await times(bench, 6)
    got = await bench.call("GET", "/api/v1/orders")
    assert (got.status, got.problem, got.json["violated-policies"]) == (429, "too-many-requests", ["caller"])
    wait_s = int(got.header("retry-after") or 0)
    assert got.header("ratelimit") == f'"caller";r=0;t={wait_s}'
    bench.clock.advance(wait_s - 1)
    assert await times(bench, 1) == [429]
    bench.clock.advance(1)
    assert await times(bench, 2) == [200, 429]


async def test_no_limit_is_0_and_says_nothing() -> None:
    got = await GatewayBench().call("GET", "/api/v1/orders")
    assert got.all("ratelimit") == got.all("ratelimit-policy") == []


async def test_requests_at_the_same_time_do_not_slip_through(open_bench: OpenBench) -> None:
    bench = open_bench(caller_per_minute="10")
    answers = await asyncio.gather(*(bench.call("GET", "/api/v1/orders") for _ in range(50)))
    assert sorted(got.status for got in answers) == [200] * 10 + [429] * 40


def some_limits(clock: FrozenClock, quota: int) -> RateLimits:
    return RateLimits(GatewaySettings(caller_per_minute=quota), clock)


async def test_the_minute_slides() -> None:
    clock = FrozenClock()
    counting = some_limits(clock, 60)
    taken_at_s = []
    for second in range(300):
        while True:
            try:
                await counting.count("caller", "c-1")
            except LimitReached:
                break
            taken_at_s.append(second)
        clock.advance(1)
    for start in range(240):
        assert sum(start <= at < start + 60 for at in taken_at_s) <= 60
    # Who asks all the time gets the quota, spread evenly from the second minute on.
    assert sum(120 <= at < 180 for at in taken_at_s) >= 55
    assert taken_at_s.count(0) == 60
    assert max(taken_at_s.count(second) for second in range(1, 300)) <= 2


async def test_somebody_who_was_away_begins_anew() -> None:
    clock = FrozenClock()
    counting = some_limits(clock, 2)
    for _ in range(2):
        await counting.count("caller", "c-1")
    clock.advance(120)
    allowance = await counting.count("caller", "c-1")
    assert allowance is not None
    assert allowance.left == 1


@pytest.mark.parametrize(
    ("quota", "counts", "seconds"),
    [
        (10, (0, 0.0, 10, 90.0), 31),
        (10, (20, 30.0, 0, 90.0), 1),
        (10, (20, 60.0, 0, 120.0), 31),
        (1, (1, 60.0, 0, 120.0), 1),
    ],
)
def test_when_to_come_back_is_reckoned_from_the_counts(
    quota: int, counts: tuple[int, float, int, float], seconds: int
) -> None:
    assert retry_after_s(quota, counts) == seconds


async def test_however_many_addresses_there_are_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_COUNTED", 100)
    counting = some_limits(FrozenClock(), 2)
    for _ in range(2):
        await counting.count("caller", "steady")
    for number in range(1000):
        await counting.count("caller", f"c-{number}")
        with pytest.raises(LimitReached):
            await counting.count("caller", "steady")
    assert len(counting._storage._counted) == 100
