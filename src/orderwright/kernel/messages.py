"""Events and the messages that carry them: a stable name, a topic, a version and a key for each.

Invariant: what is on the wire never depends on a class name or a module path, the body is exactly the payload
(`camelCase`, CONTRACT section 5), everything else travels beside it as CloudEvents 1.0 attributes, and money is a JSON
number that is written and read without ever being a binary float. A consumer ignores fields that it does not know.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from orderwright.kernel.clock import parse_rfc3339, rfc3339
from orderwright.kernel.errors import MalformedMessage, TooLarge

SPEC_VERSION = "1.0"
HEADER_PREFIX = "ce_"
MAX_BODY_BYTES = 512 * 1024
"""Half of what Kafka takes by default. What is in the outbox and too large would hold up all that is said after it."""


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A fact that a service tells the others. Optional members are `UNSET`, and then absent from the body."""

    event_name: ClassVar[str]
    topic: ClassVar[str]
    owner: ClassVar[str]
    """The one service that says it."""
    heard_by: ClassVar[tuple[str, ...]] = ()
    """The services that it is meant for: a broker keeps it for each of them, also before that one has ever run."""
    key_field: ClassVar[str] = "order_id"
    """The field whose value orders and partitions the event: the id of the thing that it is about."""
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        return str(getattr(self, self.key_field))


E = TypeVar("E", bound=Event)

_encoder = msgspec.json.Encoder(decimal_format="number")


class Message(msgspec.Struct, frozen=True):
    """An event as it lies in an outbox or travels through a broker: attributes beside an opaque body."""

    id: str
    name: str
    topic: str
    key: str
    source: str
    time: datetime
    body: bytes
    version: int = 1
    traceparent: str | None = None

    def headers(self) -> dict[str, str]:
        """The CloudEvents attributes, named for a broker's headers (`ce_id`, `ce_type`, …)."""
        headers = {
            "ce_specversion": SPEC_VERSION,
            "ce_id": self.id,
            "ce_type": self.name,
            "ce_source": self.source,
            "ce_subject": self.key,
            "ce_time": rfc3339(self.time),
            "ce_schemaversion": str(self.version),
            "content-type": "application/json",
        }
        if self.traceparent:
            headers["traceparent"] = self.traceparent
        return headers

    @classmethod
    def from_headers(cls, topic: str, key: str, headers: Mapping[str, str], body: bytes) -> "Message":
        """The message that a broker handed over. MalformedMessage when an attribute is missing or unreadable."""
        try:
            return cls(
                id=_required(headers, "ce_id"),
                name=_required(headers, "ce_type"),
                topic=topic,
                key=key or headers.get("ce_subject", ""),
                source=_required(headers, "ce_source"),
                time=parse_rfc3339(_required(headers, "ce_time")),
                body=body,
                version=int(headers.get("ce_schemaversion", "1")),
                traceparent=headers.get("traceparent"),
            )
        except (KeyError, ValueError) as error:
            raise MalformedMessage(f"A message on {topic} has unusable attributes: {error}") from error


class Received(msgspec.Struct, Generic[E], frozen=True):
    """An event as a handler gets it: the payload and the message that brought it."""

    event: E
    message: Message


def encode(event: Event, *, id: str, source: str, time: datetime, traceparent: str | None = None) -> Message:  # noqa: A002
    """`event` as a message that `source` says at `time`. TooLarge when a broker might not carry it."""
    kind = type(event)
    body = _encoder.encode(event)
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"{kind.event_name} of {event.key} has {len(body)} bytes; an event has {MAX_BODY_BYTES} at most")
    return Message(
        id=id,
        name=kind.event_name,
        topic=kind.topic,
        key=event.key,
        source=source,
        time=time,
        body=body,
        version=kind.version,
        traceparent=traceparent,
    )


class Decoders:
    """Reads bodies for the event types that a consumer knows, one type a topic."""

    def __init__(self, events: Mapping[str, type[Event]]) -> None:
        self._by_topic: dict[str, tuple[type[Event], msgspec.json.Decoder[Any]]] = {
            topic: (kind, msgspec.json.Decoder(kind)) for topic, kind in events.items()
        }

    def decode(self, message: Message) -> Event:
        """The event in `message`. MalformedMessage when the topic is not ours, or the body breaks its schema."""
        try:
            kind, decoder = self._by_topic[message.topic]
        except KeyError:
            raise MalformedMessage(f"Nothing here reads the topic {message.topic!r}") from None
        if message.name != kind.event_name:
            raise MalformedMessage(f"{message.topic} carries {kind.event_name}, not {message.name!r}")
        if message.version > kind.version:
            raise MalformedMessage(
                f"{message.name} has schema version {message.version}; this consumer reads up to {kind.version}"
            )
        try:
            event: Event = decoder.decode(message.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessage(f"The body of {message.name} {message.id} breaks its schema: {error}") from error
        return event


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise KeyError(f"{name} is missing")
    return value
