"""A broker that dies while what it said is still being read: whoever waits for it is told that it is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pamqp import frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Connection
from pamqp.header import ContentHeader

from orderwright.kernel.broker import Broker
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.errors import BrokerUnavailable
from tests.conformance.test_broker import PATIENCE_S, message

MORE_THAN_THE_CLIENT_READS_AT_ONCE = 500

GREETING: list[tuple[int, Frame]] = [
    (0, Connection.Start(server_properties={"capabilities": {}})),
    (1, Connection.Tune(channel_max=0, frame_max=131_072, heartbeat=10)),
    (2, Connection.OpenOk()),
]
"""What a broker says first, each after so many answers of the client's."""


async def heard(reader: asyncio.StreamReader) -> None:
    head = await reader.readexactly(7)
    await reader.readexactly(int.from_bytes(head[3:]) + 1)


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(8)
    for answers, word in GREETING:
        for _ in range(answers):
            await heard(reader)
        writer.write(frame.marshal(word, 0))


async def say_much_and_die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the first question on a channel with much besides the answer, and the second by hanging up."""
    try:
        await greet(reader, writer)
        await heard(reader)
        delivery = (Basic.Deliver("nobody", 1, False, "", ""), ContentHeader(body_size=1), ContentBody(b"1"))
        unread = b"".join(frame.marshal(part, 1) for part in delivery) * MORE_THAN_THE_CLIENT_READS_AT_ONCE
        writer.write(frame.marshal(Channel.OpenOk(), 1) + unread)
        await heard(reader)
    finally:
        writer.close()


@pytest.fixture
async def dying() -> AsyncIterator[str]:
    """Where that broker is."""
    async with await asyncio.start_server(say_much_and_die, "127.0.0.1", 0) as server:
        yield f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    "attempt",
    [
        lambda broker: broker.ping(),
        lambda broker: broker.publish([message(1)]),
        lambda broker: broker.subscribe("a", ["t"]),
        lambda broker: broker.declare({"a": ["t"]}),
    ],
    ids=["ping", "publish", "subscribe", "declare"],
)
async def test_who_waits_for_a_broker_that_dies_with_words_unread_is_told(
    dying: str, attempt: Callable[[Broker], Awaitable[object]]
) -> None:
    async with open_broker(dying) as broker:
        with pytest.raises(BrokerUnavailable, match="it ended"):
            await asyncio.wait_for(attempt(broker), PATIENCE_S)
