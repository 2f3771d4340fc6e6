"""Makes topics, and answers whether the cluster is there; each with a connection of its own, which is then closed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from orderwright.kernel.brokers.kafka.options import Options
from orderwright.kernel.errors import BrokerUnavailable

ADMIN_TIMEOUT_S = 5.0
CREATE_TIMEOUT_S = 20.0
LOOK_AGAIN_S = 0.05
CLUSTER_DECIDES = -1


async def ping(options: Options) -> None:
    """BrokerUnavailable when no server of the cluster answers."""
    async with administering(options, ADMIN_TIMEOUT_S):
        return


async def make(options: Options, names: Sequence[str]) -> None:
    """Have these topics (full names) exist, and wait until they can be written to. BrokerUnavailable."""
    new = [NewTopic(name, options.partitions, 1) for name in names]
    for topic in new:
        # Set afterwards, because the library's constructor refuses the number that leaves it to the cluster.
        topic.replication_factor = options.replication or CLUSTER_DECIDES
    async with administering(options, CREATE_TIMEOUT_S) as admin:
        answer = await admin.create_topics(new, timeout_ms=int(CREATE_TIMEOUT_S * 1000))
        refused = {name: for_code(code) for name, code, *_ in answer.topic_errors}
        for name, error in refused.items():
            # Who may not make topics may find that somebody else has made them.
            if error not in {NoError, TopicAlreadyExistsError, TopicAuthorizationFailedError}:
                raise BrokerUnavailable(f"Kafka did not make the topic {name}: {error.__name__}, {error.description}")
        while missing := await _missing(admin, names):
            if TopicAuthorizationFailedError in refused.values():
                raise BrokerUnavailable(f"Kafka has no topic {missing[0]}, and this account may not make it")
            await asyncio.sleep(LOOK_AGAIN_S)


async def _missing(admin: AIOKafkaAdminClient, names: Sequence[str]) -> list[str]:
    """Those without a leader for each of their partitions: new ones are not known everywhere at once."""
    ready = {
        topic["topic"]
        for topic in await admin.describe_topics(list(names))
        if topic["partitions"] and all(partition["leader"] >= 0 for partition in topic["partitions"])
    }
    return [name for name in names if name not in ready]


@asynccontextmanager
async def administering(options: Options, timeout_s: float) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connection for asking and making; whatever fails or takes longer is BrokerUnavailable."""
    admin = AIOKafkaAdminClient(**options.for_client(ADMIN_TIMEOUT_S))
    try:
        async with asyncio.timeout(timeout_s):
            await admin.start()
            yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerUnavailable(f"Kafka at {', '.join(options.servers)} does not answer: {error!r}") from error
    finally:
        await admin.close()
