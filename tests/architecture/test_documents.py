"""The reference pages say what the code says."""

from orderwright.cli.reference import settings_document
from orderwright.contracts import EVENTS
from tests.architecture.tree import ROOT


def test_the_page_of_settings_is_what_the_code_has() -> None:
    written = (ROOT / "docs/reference/settings.md").read_text()
    assert written == settings_document(), "write it anew: orderwright settings > docs/reference/settings.md"


def test_the_page_of_events_names_every_event_and_its_topic() -> None:
    page = (ROOT / "docs/reference/events.md").read_text()
    for event in EVENTS:
        assert f"| {event.event_name} | `{event.topic}` | {event.owner} |" in page
