"""Addresses as they are set, and names that stand for several machines."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from orderwright.kernel.addressing import LookUpTimes, look_up, read_origins
from orderwright.kernel.errors import ConfigurationError, Unavailable
from tests.kernel.machines import Fleet, until


class Resolver:
    """Answers with what it was told; a name with no addresses fails."""

    def __init__(self, *ips: str) -> None:
        self.ips: Sequence[str] = ips
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        await self.may_answer.wait()
        if not self.ips:
            raise OSError(f"{host} is not known")
        return self.ips


def named(resolver: Resolver) -> Fleet:
    """Two machines at one port of two addresses, behind one name."""
    return Fleet(["127.0.0.1", "127.0.0.2"], name="orders.test", look_up=resolver)


async def test_a_name_with_several_addresses_is_several_replicas() -> None:
    async with named(Resolver("127.0.0.1", "127.0.0.2")).running() as fleet:
        for _ in range(40):
            await fleet.ask()
        assert all(len(machine.heard) > 5 for machine in fleet.machines)
        assert set(fleet.machines[0].hosts) == {f"orders.test:{fleet.machines[0].port}"}


async def test_a_name_is_looked_up_again_now_and_then_and_who_is_new_is_asked_too() -> None:
    resolver = Resolver("127.0.0.1")
    async with named(resolver).running() as fleet:
        for _ in range(10):
            await fleet.ask()
        assert (resolver.asked, len(fleet.machines[1].heard)) == (1, 0)
        resolver.ips = ["127.0.0.2"]
        fleet.clock.advance(LookUpTimes().every_s)
        await fleet.asked_until(lambda: bool(fleet.machines[1].heard))
        before = len(fleet.machines[0].heard)
        for _ in range(10):
            await fleet.ask()
        assert (resolver.asked, len(fleet.machines[0].heard)) == (2, before)
        assert fleet.counted("orderwright_replicas") == 1


async def test_requests_do_not_wait_for_a_look_up_that_takes_long() -> None:
    resolver = Resolver("127.0.0.1")
    async with named(resolver).running() as fleet:
        await fleet.ask()
        resolver.may_answer.clear()
        fleet.clock.advance(60)
        for _ in range(3):
            assert (await fleet.ask()).status == 200
        await until(lambda: resolver.asked == 2)


async def test_who_is_known_stays_known_while_the_name_cannot_be_looked_up() -> None:
    resolver = Resolver("127.0.0.1")
    async with named(resolver).running() as fleet:
        await fleet.ask()
        resolver.ips = []
        for count in range(2, 5):
            fleet.clock.advance(60)
            assert (await fleet.ask()).status == 200
            await until(lambda count=count: resolver.asked == count)  # type: ignore[misc]


async def test_a_name_that_nobody_knows_is_unavailable_at_once_until_it_is_known() -> None:
    resolver = Resolver()
    async with named(resolver).running() as fleet:
        outcomes = await asyncio.gather(*(fleet.ask() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert resolver.asked == 1
        resolver.ips = ["127.0.0.1"]
        fleet.clock.advance(LookUpTimes().again_s)
        assert (await fleet.ask()).status == 200


async def test_a_name_is_looked_up_at_once_when_nobody_answers_any_more() -> None:
    resolver = Resolver("127.0.0.1")
    async with named(resolver).running() as fleet:
        await fleet.ask()
        await fleet.machines[0].kill()
        resolver.ips = ["127.0.0.2"]
        with pytest.raises(Unavailable):
            await fleet.ask()
        fleet.clock.advance(LookUpTimes().again_s)
        with contextlib.suppress(Unavailable):
            # Whether the look-up is done before this fails is up to the two.
            await fleet.ask()
        await until(lambda: fleet.peer.replicas.known[0].ip == "127.0.0.2")
        assert (await fleet.ask()).status == 200


async def test_a_replica_that_left_finishes_what_it_has_in_hand() -> None:
    resolver = Resolver("127.0.0.1")
    async with named(resolver).running() as fleet:
        first, second = fleet.machines
        first.pause()
        asking = [asyncio.create_task(fleet.ask("POST"))]
        await until(lambda: bool(first.heard))
        resolver.ips = ["127.0.0.2"]
        fleet.clock.advance(60)
        asking.append(asyncio.create_task(fleet.ask("POST")))
        await until(lambda: fleet.peer.replicas.known[0].ip == "127.0.0.2")
        assert ((await fleet.ask()).status, len(second.heard)) == (200, 1)
        first.go_on()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200, 200]
        await until(lambda: not first.is_connected)


async def test_the_machines_own_resolver_knows_this_machine() -> None:
    assert set(await look_up("localhost", 80)) <= {"127.0.0.1", "::1"}


def test_several_addresses_have_commas_between() -> None:
    origins = read_origins("order", " http://10.0.0.5:8001 ,https://orders.internal/x/,http://[::1]:8001,")
    assert [(one.authority, one.scheme, one.path, one.is_name) for one in origins] == [
        ("10.0.0.5:8001", "http", "", False),
        ("orders.internal", "https", "/x", True),
        ("[::1]:8001", "http", "", False),
    ]


def test_paths_and_names_are_kept_as_they_go_over_the_line() -> None:
    spaced, foreign = read_origins("order", "http://x/a%20b/,http://exämple:80/ä")
    assert (spaced.path, foreign.host, foreign.path) == ("/a%20b", "xn--exmple-cua", "/%C3%A4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "10.0.0.5:8001",
        "ftp://x",
        "http://",
        "http://x:99999",
        "http://a:pw@x",
        "http://x?y",
        "order",
        "http://x y",
    ],
)
def test_what_is_no_address_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ORDERWRIGHT_ORDER_URL .* http://10\.0\.0\.5:8001") as refusal:
        read_origins("order", text)
    assert "pw" not in str(refusal.value)
