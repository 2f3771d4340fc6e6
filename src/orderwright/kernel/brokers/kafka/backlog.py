"""How far each group is behind the ends of its topics.

Invariants: nothing is made by asking, no topic and no group. A group that has committed nothing is behind by all that
is kept, because that is what it will be given. What somebody wrote in a transaction leaves a marker behind it, which
counts as one record until the next one after it was handled.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)

from orderwright.kernel.brokers.kafka.clients import end_consumer
from orderwright.kernel.brokers.kafka.options import Options
from orderwright.kernel.brokers.kafka.topics import ADMIN_TIMEOUT_S, administering

ASK_WITHIN_S = 20.0
LEAVE_S = 1.5
ASK_AGAIN_S = 0.2
NOBODY_TO_ASK_YET = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)


async def count_behind(options: Options, audience: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
    """Records that each group (all names in full) has not committed. BrokerUnavailable."""
    topics = sorted({topic for heard in audience.values() for topic in heard})
    async with administering(options, ASK_WITHIN_S) as admin:
        partitions = await _partitions(admin, topics)
        first, end = await _bounds(options, partitions)
        behind = {}
        for group, heard in audience.items():
            committed = await _committed(admin, group)
            behind[group] = sum(
                end[one] - max(first[one], committed[one].offset if one in committed else 0)
                for one in partitions
                if one.topic in heard
            )
    return behind


async def _committed(admin: AIOKafkaAdminClient, group: str) -> Mapping[TopicPartition, Any]:
    while True:
        try:
            committed: Mapping[TopicPartition, Any] = await admin.list_consumer_group_offsets(group)
        except NOBODY_TO_ASK_YET:
            # A server that has just begun makes the place for groups when the first of them asks.
            await asyncio.sleep(ASK_AGAIN_S)
        else:
            return committed


async def _partitions(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    """Of those topics that are there; asked of all, because asking for one by name may make it."""
    known = await admin.describe_topics()
    for topic in known:
        if topic["error_code"] and topic["topic"] in topics:
            raise for_code(topic["error_code"])(topic["topic"])
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in known
        if topic["topic"] in topics
        for partition in topic["partitions"]
    ]


async def _bounds(
    options: Options, partitions: Sequence[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """The offset of the first record that is kept, and of the next one to come."""
    if not partitions:
        return {}, {}
    consumer = AIOKafkaConsumer(**options.for_client(ADMIN_TIMEOUT_S), isolation_level="read_committed")
    try:
        await consumer.start()
        return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    finally:
        await end_consumer(consumer, LEAVE_S)
