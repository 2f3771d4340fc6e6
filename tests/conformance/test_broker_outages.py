"""A broker that goes away and comes back: said while it lasts, survived without opening anything anew."""

import asyncio

import pytest

from orderwright.kernel.brokers import open_broker
from orderwright.kernel.errors import BrokerUnavailable
from tests.brokers import BROKERS, broker_url, own_server
from tests.conformance.test_broker import PATIENCE_S, Crew, message


@pytest.mark.parametrize("kind", BROKERS[1:])
async def test_a_restart_in_the_middle_loses_nothing(kind: str) -> None:
    server = own_server(kind)
    async with open_broker(broker_url(kind)) as broker:
        crew = Crew(broker)
        await crew.hire()
        await broker.publish([message(n, f"k{n % 5}") for n in range(100)])
        restarting = asyncio.create_task(asyncio.to_thread(server.restart, kill=True))
        for first in range(100, 1100, 50):
            batch = [message(n, f"k{n % 5}") for n in range(first, first + 50)]
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        await broker.publish(batch)
                        break
                    except BrokerUnavailable:
                        await asyncio.sleep(0.2)
            if first == 100:
                await restarting
        await broker.ping()
        await crew.until(set(range(1100)))
        await crew.dismiss()
        assert crew.bodies() == set(range(1100))


@pytest.mark.parametrize("kind", BROKERS[1:])
async def test_a_broker_that_is_away_is_said_to_be_and_comes_back(kind: str) -> None:
    server = own_server(kind)
    async with open_broker(broker_url(kind)) as broker:
        crew = Crew(broker)
        await crew.hire()
        await broker.publish([message(1)])
        await crew.until({1})
        await asyncio.to_thread(server.stop)
        try:
            for attempt in (broker.ping, lambda: broker.publish([message(2)])):
                with pytest.raises(BrokerUnavailable):
                    await asyncio.wait_for(attempt(), PATIENCE_S)
        finally:
            await asyncio.to_thread(server.start)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await broker.publish([message(3)])
                    break
                except BrokerUnavailable:
                    await asyncio.sleep(0.2)
        await crew.until({1, 3})
        await crew.dismiss()
