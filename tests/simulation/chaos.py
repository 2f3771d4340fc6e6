"""Faults that have no opportunity of their own: once in a while one is drawn, and strikes somewhere."""

import asyncio
from collections.abc import Sequence

from tests.simulation.broker import SimBroker
from tests.simulation.faults import BY_TIME, Faults
from tests.simulation.hosts import PAUSED_S, Host
from tests.simulation.trace import Trace

EVERY_S = 2.0


async def unleash(hosts: Sequence[Host], broker: SimBroker, faults: Faults, trace: Trace) -> None:
    """Strike until cancelled."""
    dice = faults.dice("chaos")
    while True:
        await asyncio.sleep(dice.uniform(0, 2 * EVERY_S))
        for kind in sorted(BY_TIME):
            if faults.strikes(kind):
                trace.reach(f"fault: {kind}")
                _strike(kind, hosts, broker, faults, trace)


def _strike(kind: str, hosts: Sequence[Host], broker: SimBroker, faults: Faults, trace: Trace) -> None:
    dice = faults.dice(f"{kind}: where")
    host = dice.choice(hosts)
    process = host.process
    match kind:
        case "crash" if process is not None:
            process.end("is killed")
        case "crash of everything":
            for one in hosts:
                if one.process is not None:
                    one.process.end("is killed with everything")
            if not faults.plan.durable:
                broker.forget()
        case "pause" if process is not None:
            process.pause(dice.uniform(*PAUSED_S))
        case "redeploy" if process is not None:
            _ = host.loop.create_task(host.redeploy(), context=process.context)
        case "clock jump":
            host.clock.skew_s = dice.choice((-20.0, -2.0, 0.5, 5.0, 40.0))
            trace.say(host.name, f"has a clock that is wrong by {host.clock.skew_s} s")
        case "broker outage":
            broker.down_until_s = broker.loop.time() + dice.uniform(0.5, 8)
            trace.say("broker", f"is down until {broker.down_until_s:.1f} s")
        case _:
            trace.say("world", f"finds nobody for: {kind}")
