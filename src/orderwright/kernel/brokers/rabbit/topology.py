"""What stands in RabbitMQ: a topic exchange for all that is said, a queue for each group, a place for dead letters.

    exchange <prefix>orderwright (topic) ── routing key = topic ──► queue <prefix>orderwright.<group> (quorum)
        a message that came back unacknowledged `delivery_limit` times ──► <prefix>orderwright.dead-letters (both)

Invariants: everything is durable and replicated as far as the cluster is. A full queue refuses what is published, so
the publisher knows; a dead letter leaves its queue only when the other has it. Nothing is ever unbound or deleted.
What is new here is used only once it survives the death of a broker that stands alone.
"""

from collections.abc import Iterable, Mapping, Sequence

from aiormq import Connection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from orderwright.kernel.broker import Backlog
from orderwright.kernel.brokers.rabbit.connecting import Target
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import ConfigurationError

LOOKED_AT_OFTEN_ENOUGH = 1_000_000_000
"""RabbitMQ 4 discards what came back 20 times unless told otherwise; looking at a dead letter counts as coming back."""
SETTLES_S = 1.5
"""RabbitMQ writes where a new quorum queue has its log only after two looks half a second apart. A lone broker that is
killed before has lost the log and all that it confirmed, and the queue never finds a leader again (seen on 3.10)."""


def exchange_name(target: Target) -> str:
    """The exchange that everything is published to."""
    return f"{target.prefix}orderwright"


def queue_name(target: Target, group: str) -> str:
    """The queue that holds what a group has not handled yet."""
    return f"{target.prefix}orderwright.{group}"


def dead_letters_name(target: Target) -> str:
    """Exchange and queue of what was given up. No group is called like it: a service's name has no hyphen."""
    return f"{target.prefix}orderwright.dead-letters"


async def declare(connection: Connection, target: Target, audience: Mapping[str, Sequence[str]], clock: Clock) -> None:
    """Have the exchange, so that also a topic that nobody hears can be published, and the queues of these groups.

    ConfigurationError when something else stands there already.
    """
    queues = [queue_name(target, group) for group in audience]
    settled = not queues or await _all_there(connection, [dead_letters_name(target), *queues])
    channel = await connection.channel(publisher_confirms=False)
    try:
        await _declare_exchange(channel, target, exchange_name(target), "topic")
        if audience:
            await _declare_dead_letters(channel, target)
        for group, topics in audience.items():
            await _declare_group(channel, target, group, topics)
    finally:
        await channel.close()
    if not settled:
        await clock.sleep(SETTLES_S)


async def waiting(connection: Connection, target: Target, group: str) -> Backlog:
    """What waits in a group's queue; nothing does in one that is not there, for nothing was routed to it."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        found = await channel.queue_declare(queue_name(target, group), passive=True)
    except ChannelNotFoundEntity:
        return Backlog(0)
    finally:
        await channel.close()
    # What a consumer has in hand is counted nowhere; when the last of them is gone, all of it waits again.
    return Backlog(found.message_count or 0, exact=not found.consumer_count)


async def _all_there(connection: Connection, queues: Iterable[str]) -> bool:
    channel = await connection.channel(publisher_confirms=False)
    try:
        for name in queues:
            await channel.queue_declare(name, passive=True)
    except ChannelNotFoundEntity:
        return False
    finally:
        await channel.close()
    return True


async def _declare_dead_letters(channel: AbstractChannel, target: Target) -> None:
    name = dead_letters_name(target)
    await _declare_exchange(channel, target, name, "fanout")
    await _declare_queue(channel, target, name, {"x-delivery-limit": LOOKED_AT_OFTEN_ENOUGH})
    await channel.queue_bind(name, name)


async def _declare_group(channel: AbstractChannel, target: Target, group: str, topics: Sequence[str]) -> None:
    name = queue_name(target, group)
    bounds: dict[str, str | int] = {
        "x-delivery-limit": target.delivery_limit,
        "x-dead-letter-exchange": dead_letters_name(target),
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    await _declare_queue(channel, target, name, bounds)
    for topic in topics:
        await channel.queue_bind(name, exchange_name(target), topic)


async def _declare_exchange(channel: AbstractChannel, target: Target, name: str, kind: str) -> None:
    try:
        await channel.exchange_declare(name, exchange_type=kind, durable=True)
    except (ChannelAccessRefused, ChannelPreconditionFailed) as error:
        raise _refused(target, "exchange", name, error) from error


async def _declare_queue(channel: AbstractChannel, target: Target, name: str, arguments: dict[str, str | int]) -> None:
    try:
        await channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", **arguments})
    except (ChannelAccessRefused, ChannelPreconditionFailed) as error:
        raise _refused(target, "queue", name, error) from error


def _refused(
    target: Target, kind: str, name: str, error: ChannelAccessRefused | ChannelPreconditionFailed
) -> ConfigurationError:
    if isinstance(error, ChannelAccessRefused):
        return ConfigurationError(
            f"RabbitMQ does not let this account declare the {kind} {name}: {error}. "
            f"Give it configure, write and read permission on {target.prefix}orderwright.*"
        )
    return ConfigurationError(
        f"The {kind} {name} is there already, made in another way: {error}. Let its messages be handled by the version "
        f"that made it, delete it (rabbitmqadmin delete {kind} name={name}) and start again; it is then made anew"
    )
