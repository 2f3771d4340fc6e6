"""The published language, frozen: each event's example file is never edited, only added to.

What was written by an older version must still be read, and what is written now must be what the file shows.
"""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from orderwright.contracts import EVENTS
from orderwright.contracts.catalog import ProductDeleted
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.errors import TooLarge
from orderwright.kernel.messages import MAX_BODY_BYTES, Decoders, Event, Message, encode

EXAMPLES = Path(__file__).parent / "examples"
DECODERS = Decoders({kind.topic: kind for kind in EVENTS})


def example_of(kind: type[Event]) -> Path:
    return EXAMPLES / f"{kind.event_name}.v{kind.version}.json"


def decoded(kind: type[Event], body: bytes) -> Event:
    message = Message("m", kind.event_name, kind.topic, "k", "/x", FrozenClock().now(), body, kind.version)
    return DECODERS.decode(message)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.event_name)
def test_an_event_is_read_from_its_example_and_written_as_it(kind: type[Event]) -> None:
    example = example_of(kind).read_bytes()
    event = decoded(kind, example)
    written = encode(event, id="m", source="/x", time=FrozenClock().now()).body
    assert json.loads(written, parse_float=Decimal) == json.loads(example, parse_float=Decimal)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.event_name)
def test_unknown_members_are_ignored_and_missing_ones_are_not(kind: type[Event]) -> None:
    example = json.loads(example_of(kind).read_bytes())
    assert decoded(kind, json.dumps({**example, "anything": [1]}).encode()) == decoded(
        kind, json.dumps(example).encode()
    )
    with pytest.raises(Exception, match="breaks its schema"):
        decoded(kind, b"{}")


def test_names_and_topics_are_unique_and_every_example_has_its_event() -> None:
    assert len({kind.event_name for kind in EVENTS}) == len({kind.topic for kind in EVENTS}) == len(EVENTS) == 19
    assert {path.name for path in EXAMPLES.iterdir()} == {example_of(kind).name for kind in EVENTS}


def test_attributes_travel_beside_the_body_as_cloudevents() -> None:
    event = decoded(EVENTS[0], example_of(EVENTS[0]).read_bytes())
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    message = encode(event, id="m-1", source="/orderwright/catalog", time=FrozenClock().now(), traceparent=trace)
    assert message.headers() == {
        "ce_specversion": "1.0",
        "ce_id": "m-1",
        "ce_type": "ProductCreated",
        "ce_source": "/orderwright/catalog",
        "ce_subject": event.key,
        "ce_time": "2026-01-01T00:00:00.000000Z",
        "ce_schemaversion": "1",
        "content-type": "application/json",
        "traceparent": trace,
    }


def test_an_event_that_a_broker_might_not_carry_is_not_said() -> None:
    frame = len(encode(ProductDeleted(product_id=""), id="m", source="/x", time=FrozenClock().now()).body)
    largest = ProductDeleted(product_id="x" * (MAX_BODY_BYTES - frame))
    assert len(encode(largest, id="m", source="/x", time=FrozenClock().now()).body) == MAX_BODY_BYTES
    with pytest.raises(TooLarge, match=r"ProductDeleted of x+ has 524289 bytes; an event has 524288 at most"):
        encode(ProductDeleted(product_id=largest.product_id + "x"), id="m", source="/x", time=FrozenClock().now())
