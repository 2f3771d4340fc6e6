"""What an installation leaves at a server's broker when it is gone: taken away, so that the next one meets none of it.

A Redis that keeps what is over writes all of it anew each time it shortens its file, and everybody waits meanwhile.
"""

from urllib.parse import parse_qs, urlsplit, urlunsplit

import aiormq
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from orderwright.contracts import audience
from orderwright.kernel.brokers.rabbit import topology
from orderwright.kernel.brokers.rabbit.connecting import Target

MANY = 1000


async def remove(broker_url: str) -> None:
    """Take away all that has a name with this URL's `?prefix=`. KeyError where it has none: all would be too much."""
    parts = urlsplit(broker_url)
    [prefix] = parse_qs(parts.query)["prefix"]
    if parts.scheme == "redis":
        await _from_redis(urlunsplit(parts._replace(query="")), prefix)
    elif parts.scheme == "kafka":
        await remove_topics(parts.netloc, prefix)
    elif parts.scheme == "amqp":
        await _from_rabbitmq(Target.of(broker_url))


async def remove_topics(server: str, prefix: str) -> None:
    """Take these topics out of Kafka, where each restart takes longer for them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=server)
    await admin.start()
    try:
        found = [name for name in await admin.list_topics() if name.startswith(prefix)]
        if found:
            await admin.delete_topics(found)
    finally:
        await admin.close()


async def _from_redis(url: str, prefix: str) -> None:
    async with Redis.from_url(url) as client:
        found = [key async for key in client.scan_iter(f"{prefix}*", count=MANY)]
        if found:
            await client.unlink(*found)


async def _from_rabbitmq(target: Target) -> None:
    dead_letters = topology.dead_letters_name(target)
    connection = await aiormq.connect(target.url)
    try:
        channel = await connection.channel()
        for queue in (*(topology.queue_name(target, group) for group in audience()), dead_letters):
            await channel.queue_delete(queue)
        for exchange in (topology.exchange_name(target), dead_letters):
            await channel.exchange_delete(exchange)
    finally:
        await connection.close()
