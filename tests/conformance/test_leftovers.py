"""What the benchmark takes away from a broker that it has used: all of its own, and nothing of anybody else's."""

import asyncio

import pytest

from orderwright.kernel.brokers import open_broker
from tests.brokers import SERVER_OF, broker_url
from tests.conformance.test_broker import PATIENCE_S, message
from tools.backends import leftovers

AUDIENCE = {"order": ["t"]}


@pytest.mark.parametrize("kind", SERVER_OF)
async def test_an_installations_messages_go_away_with_it_and_its_neighbours_stay(kind: str) -> None:
    url, neighbour = broker_url(kind), broker_url(kind)
    for each in (url, neighbour):
        async with open_broker(each) as broker:
            await broker.declare(AUDIENCE)
            await broker.publish([message(number) for number in range(3)])
    assert await waiting(url) == await waiting(neighbour) == 3
    await leftovers.remove(url)
    async with asyncio.timeout(PATIENCE_S):
        while await waiting(url):  # Kafka says that it will be done
            await asyncio.sleep(0.1)
    assert await waiting(neighbour) == 3


async def waiting(url: str) -> int:
    async with open_broker(url) as broker:
        return (await broker.backlog(AUDIENCE))["order"].count
