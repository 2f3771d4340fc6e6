"""The catalogue of events is whole: each is said by its one owner, and heard by those that it names and nobody else."""

from collections.abc import Mapping, Sequence

from orderwright.cli.reference import assembled
from orderwright.contracts import EVENTS, audience
from orderwright.kernel.manifest import Service
from orderwright.kernel.messages import Event


def unlike(events: Sequence[type[Event]], services: Mapping[str, Service]) -> dict[str, tuple[set[str], set[str]]]:
    """Events that other services hear than they name: whom each names, and who hears it."""
    named = {event.event_name: set(event.heard_by) for event in events}
    hearing = {
        event.event_name: {name for name, service in services.items() if event in service.consumes} for event in events
    }
    return {name: (named[name], hearing[name]) for name in named if named[name] != hearing[name]}


def test_every_event_is_said_by_its_owner_and_heard_by_somebody() -> None:
    with assembled() as services:
        for event in EVENTS:
            assert [name for name, service in services.items() if event in service.emits] == [event.owner]
            assert any(event in service.consumes for service in services.values()), event.event_name


def test_every_event_names_those_who_hear_it_as_their_manifests_do() -> None:
    with assembled() as services:
        assert unlike(EVENTS, services) == {}
        # What is declared at a broker is exactly what the manifests subscribe to.
        heard = {name: {event.topic for event in service.consumes} for name, service in services.items()}
        assert {name: set(topics) for name, topics in audience().items()} == {n: t for n, t in heard.items() if t}


def test_who_is_named_and_does_not_hear_is_found() -> None:
    with assembled() as services:
        without = {name: service for name, service in services.items() if name != "catalog"}
        assert unlike(EVENTS, without) == {"StockUpdated": ({"catalog"}, set())}
