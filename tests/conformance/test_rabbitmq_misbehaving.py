"""Brokers that no real one can be made to be at will: one dies with words unread, one forgets whom to deliver to.

Each is a server of a few lines that says what RabbitMQ would say.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pamqp import frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Connection, Exchange, Queue
from pamqp.header import ContentHeader

from orderwright.kernel.broker import Broker
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.brokers.rabbit import RabbitBroker
from orderwright.kernel.brokers.rabbit.subscription import LOOK_EVERY_S
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.errors import BrokerUnavailable
from tests.conformance.test_broker import PATIENCE_S, message, numbers, take

MORE_THAN_THE_CLIENT_READS_AT_ONCE = 500

GREETING: list[tuple[int, Frame]] = [
    (0, Connection.Start(server_properties={"capabilities": {}})),
    (1, Connection.Tune(channel_max=0, frame_max=131_072, heartbeat=10)),
    (2, Connection.OpenOk()),
]
"""What a broker says first, each after so many answers of the client's."""


async def heard(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """What the client says next, and on which channel."""
    head = await reader.readexactly(7)
    _, channel, said = frame.unmarshal(head + await reader.readexactly(int.from_bytes(head[3:]) + 1))
    return channel, said


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


COURTESIES: dict[type, Callable[[], Any]] = {
    Channel.Open: Channel.OpenOk,
    Channel.Close: Channel.CloseOk,
    Exchange.Declare: Exchange.DeclareOk,
    Queue.Bind: Queue.BindOk,
    Basic.Get: Basic.GetEmpty,
    Basic.Qos: Basic.QosOk,
    Connection.Close: Connection.CloseOk,
}
"""What a broker answers that agrees."""


class Forgetful:
    """A broker with a message that it delivers to nobody who consumes, and hands to the next who asks for one."""

    def __init__(self) -> None:
        self.joined = 0
        self.waiting = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await greet(reader, writer)
            while True:
                channel, said = await heard(reader)
                for answer in self._answers(said):
                    writer.write(frame.marshal(answer, channel))
        except asyncio.IncompleteReadError:
            writer.close()

    def _answers(self, said: object) -> list[Any]:
        match said:
            case Queue.Declare():
                return [Queue.DeclareOk("q", self.waiting, 1)]
            case Basic.Get() if self.waiting:
                self.waiting = 0
                return [Basic.GetOk(1, False, "", "t", 0), ContentHeader(body_size=1), ContentBody(b"7")]
            case Basic.Consume():
                self.joined += 1
                self.waiting = 1 if self.joined == 1 else 0
                return [Basic.ConsumeOk("orderwright")]
        return [COURTESIES[type(said)]()] if type(said) in COURTESIES else []


class Hurried(SystemClock):
    """A clock on which a look is due twenty times a second."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / (20 * LOOK_EVERY_S))


def url_of(server: asyncio.Server) -> str:
    return f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.fixture
async def dying() -> AsyncIterator[str]:
    """Where a broker is that dies with words unread."""
    async with await asyncio.start_server(say_much_and_die, "127.0.0.1", 0) as server:
        yield url_of(server)


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


@pytest.fixture
async def forgetful() -> AsyncIterator[tuple[Forgetful, Broker]]:
    """A broker that forgets who consumes, and a client of it whose clock hurries."""
    forgetful = Forgetful()
    async with (
        await asyncio.start_server(forgetful.serve, "127.0.0.1", 0) as server,
        RabbitBroker(url_of(server), Hurried()) as broker,
    ):
        yield forgetful, broker


async def test_a_broker_that_delivers_nothing_of_what_waits_is_left_and_joined_anew(
    forgetful: tuple[Forgetful, Broker],
) -> None:
    server, broker = forgetful
    subscription = await broker.subscribe("a", ["t"])
    [delivery] = await take(subscription, 1)
    assert numbers([delivery]) == [7]
    await subscription.acknowledge([delivery])
    assert server.joined == 2


async def test_a_broker_with_nothing_to_deliver_is_not_left(forgetful: tuple[Forgetful, Broker]) -> None:
    server, broker = forgetful
    server.joined = 1
    subscription = await broker.subscribe("a", ["t"])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(subscription.receive(), timeout=1)
    assert server.joined == 2
