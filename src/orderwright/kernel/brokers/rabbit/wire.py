"""A message as RabbitMQ carries it, and what a delivery, a stranger's too, is to a consumer.

Invariants: the body is the payload and nothing else; CloudEvents attributes are headers of their own names, and the
standard properties repeat what plain tools show (message_id, type, timestamp). Reading never fails: what makes no
sense is for the consumer to say.
"""

from datetime import datetime
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from orderwright.kernel.broker import Delivery
from orderwright.kernel.clock import rfc3339
from orderwright.kernel.messages import Message

PERSISTENT = 2
CONTENT_TYPE = "content-type"
DELIVERY_COUNT = "x-delivery-count"
BOOKKEEPING = frozenset({DELIVERY_COUNT, "x-acquired-count"})
"""Headers that a quorum queue adds to what comes again."""
SMALLEST_FRAME = 4088


def frames_of(message: Message, exchange: str, max_body_bytes: int) -> "list[Frame | ContentHeader | ContentBody]":
    """What says `message` on a channel whose frames hold that many bytes of a body."""
    headers: dict[str, Any] = dict(message.headers())
    properties = Basic.Properties(
        content_type=headers.pop(CONTENT_TYPE),
        headers=headers,
        delivery_mode=PERSISTENT,
        message_id=message.id,
        message_type=message.name,
        timestamp=message.time,
    )
    step = max(max_body_bytes, SMALLEST_FRAME)
    return [
        Basic.Publish(exchange=exchange, routing_key=message.topic),
        ContentHeader(properties=properties, body_size=len(message.body)),
        *(ContentBody(message.body[start : start + step]) for start in range(0, len(message.body), step)),
    ]


def delivery_of(incoming: DeliveredMessage, token: object) -> Delivery:
    """What was delivered, in text as far as it is not the body."""
    properties = incoming.header.properties
    headers = {name: _text(value) for name, value in (properties.headers or {}).items() if name not in BOOKKEEPING}
    if properties.content_type:
        headers.setdefault(CONTENT_TYPE, properties.content_type)
    return Delivery(incoming.routing_key or "", headers.get("ce_subject", ""), headers, incoming.body, token)


def times_returned(incoming: DeliveredMessage) -> int:
    """How often it was delivered before and came back unacknowledged."""
    count = (incoming.header.properties.headers or {}).get(DELIVERY_COUNT)
    return count if isinstance(count, int) else 0


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bytes() | bytearray():
            return value.decode(errors="replace")
        case bool():
            return "true" if value else "false"
        case datetime():
            return rfc3339(value)
        case _:
            return str(value)
