"""The broker as operators see it: what waits there for whom, and emptying one that is to be left.

Emptying runs the consumers of all services on that broker, and sends nothing: what they say lies in the outboxes, and
the platform's own relays bring it to the broker that the platform is on now. So what was left behind only becomes
less, whoever else is at work.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

from rich.console import Console
from rich.table import Table

from orderwright.cli.operate import opened, units_of
from orderwright.cli.plan import load
from orderwright.contracts import audience
from orderwright.kernel.broker import Backlog, Broker
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.clock import Clock, SystemClock
from orderwright.kernel.consumer import Consumer
from orderwright.kernel.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable, OrderwrightError
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.peers import Peers
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import configure_logs
from orderwright.services import SERVICES

EMPTY, LEFT, UNKNOWN = 0, 1, 2
LOOK_EVERY_S: Final = 0.5
SETTLES_S: Final = 3.0
"""What is empty now and so much later, nobody publishes to any more, unless very little."""
IN_HAND = "and what consumers have in hand, which this broker does not tell"

# A console holds no state of ours; it is where this module prints.
console = Console(highlight=False)
Left = Mapping[str, Backlog]


async def show_backlog() -> int:
    """Print what each service has still to handle at the broker; answers the exit status."""
    try:
        async with open_broker(_url()) as broker:
            left = await broker.backlog(audience())
    except BrokerUnavailable as error:
        return _cannot(error)
    _print(left)
    return EMPTY if _empty(left) else LEFT


async def drain(*, timeout_s: float) -> int:
    """Handle what a broker still holds until nothing is left; answers the exit status. 0 s: however long it takes."""
    settings, clock = PlatformSettings(), SystemClock()
    configure_logs(form=settings.log_format, level=settings.log_level)
    try:
        async with asyncio.timeout(timeout_s or None), open_broker(_url()) as broker:
            while not await _is_empty(broker, clock):
                await _hear_until_nothing_waits(broker, settings, clock)
                # Now also what nobody tells of while somebody has it in hand is counted.
                left = await broker.backlog(audience())
                _print(left)
                if not any(one.count for one in left.values()) and not _empty(left):
                    console.print("Somebody else still consumes there: end the processes that are on this broker.")
                    await clock.sleep(SETTLES_S)
    except TimeoutError:
        sys.stderr.write(f"orderwright: not empty after {timeout_s:g} s\n")
        return LEFT
    except (BrokerUnavailable, DatabaseUnavailable) as error:
        return _cannot(error)
    console.print("Nothing is left there.")
    return EMPTY


async def _is_empty(broker: Broker, clock: Clock) -> bool:
    """Whether it is empty, and stays so for a moment."""
    if not _empty(await broker.backlog(audience())):
        return False
    await clock.sleep(SETTLES_S)
    return _empty(await broker.backlog(audience()))


async def _hear_until_nothing_waits(broker: Broker, settings: PlatformSettings, clock: Clock) -> None:
    """Everybody hears on `broker`, and finishes what is in hand. OrderwrightError when it cannot come to an end."""
    failure: OrderwrightError | None = None
    async with AsyncExitStack() as databases:
        consumers = [await _consumer(name, databases, broker, settings, clock) for name in audience()]
        async with asyncio.TaskGroup() as tasks:
            for consumer in consumers:
                tasks.create_task(consumer.run_forever())
            try:
                await _until_nothing_waits(broker, consumers, clock)
            except OrderwrightError as error:
                failure = error
            finally:
                for consumer in consumers:
                    consumer.stop()
    if failure is not None:
        raise failure


async def _consumer(
    name: str, databases: AsyncExitStack, broker: Broker, settings: PlatformSettings, clock: Clock
) -> Consumer:
    units = units_of(name, await databases.enter_async_context(opened(name)))
    # Handlers ask nobody: they run inside a transaction.
    peers = Peers(lambda service: load(SERVICES[service]), clock, units.ids)
    service: Service = load(SERVICES[name])(Kit(settings, units, peers, clock, units.ids, units.feed))
    return Consumer(name, service.consumes, broker, units)


async def _until_nothing_waits(broker: Broker, consumers: Sequence[Consumer], clock: Clock) -> None:
    """Print what is left whenever it has changed."""
    shown: Left = {}
    while True:
        left = await broker.backlog(audience())
        if left != shown:
            _print(left)
            shown = left
        if not any(one.count for one in left.values()):
            return
        for consumer in consumers:
            if consumer.stopped_because:
                raise OrderwrightError(consumer.stopped_because)
        await clock.sleep(LOOK_EVERY_S)


def _url() -> str:
    url = PlatformSettings().broker_url
    if url.startswith("memory:"):
        raise ConfigurationError(
            "The in-process broker holds nothing that is not in an outbox as well, so there is nothing to look at or "
            "to empty. Set ORDERWRIGHT_BROKER_URL to the broker that you mean"
        )
    return url


def _empty(left: Left) -> bool:
    return all(one.empty for one in left.values())


def _print(left: Left) -> None:
    table = Table("group", "left", "", box=None)
    for group, one in sorted(left.items()):
        table.add_row(group, str(one.count), "" if one.exact else IN_HAND)
    console.print(table)


def _cannot(error: Exception) -> int:
    sys.stderr.write(f"orderwright: {error}\n")
    return UNKNOWN
