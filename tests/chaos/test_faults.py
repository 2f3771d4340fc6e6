"""A seed is a list of faults; whoever repeats a run relies on it."""

from itertools import pairwise

from chaos.faults import BROKER_SERVER, DATABASE_SERVER, GATEWAY, KINDS, LINKS, SERVERS_REST_S, SERVICES, schedule

HOUR_S = 3600.0


def test_a_seed_gives_the_same_faults_every_time() -> None:
    assert schedule(11, HOUR_S) == schedule(11, HOUR_S)
    assert schedule(11, HOUR_S) != schedule(12, HOUR_S)


def test_a_longer_run_begins_with_the_faults_of_a_shorter_one() -> None:
    shorter = schedule(11, 60)
    assert schedule(11, HOUR_S)[: len(shorter)] == shorter


def test_every_kind_strikes_in_an_hour_and_only_where_it_can() -> None:
    faults = schedule(11, HOUR_S)
    assert {fault.kind for fault in faults} == set(KINDS)
    places = {
        "link": set(LINKS),
        "database-link": {link for link in LINKS if link.startswith("database:")},
        "process": {*SERVICES, GATEWAY},
        "server": {DATABASE_SERVER, BROKER_SERVER},
    }
    assert [fault for fault in faults if fault.target not in places[KINDS[fault.kind].where]] == []
    assert [fault for fault in faults if fault.target == GATEWAY and fault.kind.startswith("kill_")] == []


def test_only_the_faults_that_were_asked_for_are_drawn() -> None:
    assert {fault.kind for fault in schedule(11, HOUR_S, ("cut", "kill"))} == {"cut", "kill"}


def test_servers_are_given_time_between_two_faults_of_theirs() -> None:
    times = [fault.at_s for fault in schedule(11, HOUR_S) if KINDS[fault.kind].where == "server"]
    assert len(times) > 20
    assert min(later - earlier for earlier, later in pairwise(times)) >= SERVERS_REST_S - 0.01
