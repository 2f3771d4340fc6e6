"""What stands in RabbitMQ: a topic exchange for all that is said, a queue for each group, a place for dead letters.

    exchange <prefix>orderwright (topic) ── routing key = topic ──► queue <prefix>orderwright.<group> (quorum)
        a message that came back unacknowledged `delivery_limit` times ──► <prefix>orderwright.dead-letters (both)

Invariants: everything is durable and replicated as far as the cluster is. A full queue refuses what is published, so
the publisher knows; a dead letter leaves its queue only when the other has it. Nothing is ever unbound or deleted.
"""

from collections.abc import Sequence

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from orderwright.kernel.brokers.rabbit.connecting import Target
from orderwright.kernel.errors import ConfigurationError

LOOKED_AT_OFTEN_ENOUGH = 1_000_000_000
"""RabbitMQ 4 discards what came back 20 times unless told otherwise; looking at a dead letter counts as coming back."""


def exchange_name(target: Target) -> str:
    """The exchange that everything is published to."""
    return f"{target.prefix}orderwright"


def queue_name(target: Target, group: str) -> str:
    """The queue that holds what a group has not handled yet."""
    return f"{target.prefix}orderwright.{group}"


def dead_letters_name(target: Target) -> str:
    """Exchange and queue of what was given up. No group is called like it: a service's name has no hyphen."""
    return f"{target.prefix}orderwright.dead-letters"


async def declare_exchange(channel: AbstractChannel, target: Target) -> None:
    """Have the exchange, so that also a topic that nobody hears can be published."""
    name = exchange_name(target)
    try:
        await channel.exchange_declare(name, exchange_type="topic", durable=True)
    except (ChannelAccessRefused, ChannelPreconditionFailed) as error:
        raise _refused(target, "exchange", name, error) from error


async def declare_group(channel: AbstractChannel, target: Target, group: str, topics: Sequence[str]) -> None:
    """Have the group's queue, bound for its topics, and the dead letters behind it."""
    dead, name = dead_letters_name(target), queue_name(target, group)
    await declare_exchange(channel, target)
    try:
        await channel.exchange_declare(dead, exchange_type="fanout", durable=True)
    except (ChannelAccessRefused, ChannelPreconditionFailed) as error:
        raise _refused(target, "exchange", dead, error) from error
    await _declare_queue(channel, target, dead, {"x-delivery-limit": LOOKED_AT_OFTEN_ENOUGH})
    await channel.queue_bind(dead, dead)
    bounds: dict[str, str | int] = {
        "x-delivery-limit": target.delivery_limit,
        "x-dead-letter-exchange": dead,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    await _declare_queue(channel, target, name, bounds)
    for topic in topics[:-1]:
        await channel.queue_bind(name, exchange_name(target), topic, nowait=True)
    for topic in topics[-1:]:
        # A channel is served in order, so the answer to the last is the answer to all.
        await channel.queue_bind(name, exchange_name(target), topic)


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
