"""The catalogue of events is whole: each is said by its one owner and heard by somebody."""

from orderwright.cli.reference import assembled
from orderwright.contracts import EVENTS


def test_every_event_is_said_by_its_owner_and_heard_by_somebody() -> None:
    with assembled() as services:
        for event in EVENTS:
            assert [name for name, service in services.items() if event in service.emits] == [event.owner]
            assert any(event in service.consumes for service in services.values()), event.event_name
