"""What an installation leaves at a server's broker when it is gone: taken away, so that the next one meets none of it.

A Redis that keeps what is over writes all of it anew each time it shortens its file, and everybody waits meanwhile.
"""

from urllib.parse import urlsplit, urlunsplit

import aiormq
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from orderwright.contracts import audience

MANY = 1000


async def remove(broker_url: str, prefix: str) -> None:
    """Take away all that has a name with that prefix."""
    scheme = urlsplit(broker_url).scheme
    if scheme == "redis":
        await _from_redis(_bare(broker_url), prefix)
    elif scheme == "kafka":
        await remove_topics(urlsplit(broker_url).netloc, prefix)
    elif scheme == "amqp":
        await _from_rabbitmq(_bare(broker_url), prefix)


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


async def _from_rabbitmq(url: str, prefix: str) -> None:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for name in (*audience(), "dead-letters"):
            await channel.queue_delete(f"{prefix}orderwright.{name}")
        for name in ("orderwright", "orderwright.dead-letters"):
            await channel.exchange_delete(f"{prefix}{name}")
    finally:
        await connection.close()


def _bare(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(query=""))
