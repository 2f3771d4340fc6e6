"""One seed from beginning to verdict: chaos, then healing, then rest, then judgement."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from orderwright.contracts import audience
from orderwright.kernel.ids import SeededIds
from orderwright.kernel.manifest import Kit
from orderwright.kernel.peers import Peers
from orderwright.kernel.runtime import Runtime
from orderwright.services.payment.providers.sandbox import Sandbox
from orderwright.services.payment.settings import PaymentSettings
from tests.simulation import laws, people, staff
from tests.simulation.broker import BrokerDoor, SimBroker
from tests.simulation.chaos import unleash
from tests.simulation.disk import SimDatabase
from tests.simulation.faults import Faults, Plan
from tests.simulation.hosts import Host, Process, SimClock, SimRuntime
from tests.simulation.idling import Idling
from tests.simulation.loop import SimLoop, StuckError
from tests.simulation.network import Network, PeerDoor
from tests.simulation.outside import OUTSIDE, Outside, Post, Provider
from tests.simulation.people import Journal, Person, Town
from tests.simulation.probes import TRACE
from tests.simulation.stage import Stage
from tests.simulation.trace import Trace

REST_WITHIN_S = 900.0
"""How long after the last fault everything must have come to rest, in virtual time."""
LOOK_EVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a seed."""

    plan: Plan
    breaches: list[str]
    digest: str
    lines: list[str] = field(repr=False)
    reached: Counter[str] = field(repr=False)
    steps: int
    virtual_s: float


class World:
    """Everything there is in one run."""

    def __init__(self, plan: Plan, stage: Stage) -> None:
        self.plan = plan
        self.stage = stage
        self.loop = SimLoop(random.Random(f"steps {plan.seed}"))
        self.trace = Trace(self.loop.time)
        self.faults = Faults(plan)
        self.ids = SeededIds(plan.seed)
        self.broker = SimBroker(self.loop, self.faults, self.trace, audience())
        self.network = Network(self.loop, self.faults, self.trace)
        self.journal = Journal()
        self.town = Town(self.network, self.loop, self.faults, self.trace, self.journal)
        self.post = Post(self.faults, self.trace)
        self.hosts = [
            Host(service if n == 1 else f"{service}/{n}", service, self.loop, self.faults, self.trace, self._assemble)
            for service in stage.manifests
            for n in range(1, plan.replicas.get(service, 1) + 1)
        ]
        self.network.hosts = self.hosts
        books = SimDatabase(stage.disks["sandbox"], None, self.faults, self.trace, exclusive=True)
        clock = SimClock(self.loop)
        kit = Kit(stage.platform, None, None, clock, self.ids, None)  # type: ignore[arg-type]
        self.sandbox = Sandbox(books, kit, PaymentSettings())

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """Live through `story` in this world."""
        context = copy_context()
        context.run(TRACE.set, self.trace)
        # A context of its own: one that is being run in cannot be entered again.
        provider = Provider(self.sandbox, self.loop, self.faults, self.trace, context.copy())
        context.run(OUTSIDE.set, Outside(provider, self.post))
        try:
            context.run(self.loop.run_until_complete, story)
        except StuckError as error:
            story.close()
            self.trace.say("world", f"is stuck: {error}")
        finally:
            context.run(self._end)

    async def begin(self) -> None:
        """Start every service."""
        await self.sandbox.start()
        await asyncio.gather(*(host.boot() for host in self.hosts))

    async def heal(self) -> None:
        """No more faults. A third of the worlds starts everything anew; the others must recover as they are."""
        self.faults.on = False
        self.trace.say("world", "heals")
        self.broker.down_until_s = 0.0
        anew = self.faults.dice("heal").random() < 0.3
        for host in self.hosts:
            host.clock.skew_s = 0.0
            if host.process is None:
                continue
            host.process.go_on()
            if anew:
                host.process.end("is started anew")

    async def rest(self) -> list[str]:
        """Wait until nothing is left to do; answers what is left all the same."""
        deadline_s = self.loop.time() + REST_WITHIN_S
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            left = laws.unfinished(self.stage.disks)
            if "handler fails" in self.plan.rates:
                left += laws.dead(self.stage.disks)
            if not self.broker.empty:
                left.append("the broker has messages")
            if not left or self.loop.time() > deadline_s:
                return left

    def _end(self) -> None:
        for host in self.hosts:
            host.closed = True
            if host.process is not None:
                host.process.end("ends with the world")
        for task in self.loop.tasks:
            task.cancel()
        self.loop.run_until_complete(_nothing())
        self.loop.close()

    def _assemble(self, process: Process) -> Runtime:
        stage, service, thorough = self.stage, process.host.service, self.plan.thorough
        disk = stage.disks[service]
        peers = Peers(lambda peer: PeerDoor(self.network, peer), process.clock, self.ids)

        async def service_token() -> str:
            return f"{service} service"

        peers.service_token = service_token
        return SimRuntime(
            stage.manifests[service],
            service,
            database=SimDatabase(
                disk, process, self.faults, self.trace, exclusive=self.plan.exclusive, thorough=thorough
            ),
            broker=BrokerDoor(self.broker, process),
            peers=peers,
            platform=stage.platform,
            clock=process.clock,
            ids=self.ids,
            metrics=stage.metrics,
            doors=stage.doors,
            place=process.host.name,
            faults=self.faults,
            rows=disk.rows,
            idling=None if thorough else Idling(disk.driver, process.clock),
        )


def run(plan: Plan, stage: Stage) -> Verdict:
    """Live through one seed, and judge it."""
    stage.set_back()
    world = World(plan, stage)
    left: list[str] = []

    async def story() -> None:
        await world.begin()
        world.faults.on = True
        busy = [asyncio.create_task(work) for work in _people(world)]
        mender = Person(world.town, "mender", "staff", random.Random(f"mender {plan.seed}"))
        mending = asyncio.create_task(staff.mend(mender, stage.disks))
        chaos = asyncio.create_task(unleash(world.hosts, world.broker, world.faults, world.trace))
        await asyncio.sleep(plan.chaos_s)
        chaos.cancel()
        await world.heal()
        await asyncio.gather(*busy)
        left.extend(await world.rest())
        mending.cancel()

    world.run(story())
    breaches = [f"rest: {what}" for what in left] or laws.judge(stage.disks, world.journal, world.post, world.trace)
    for breach in breaches:
        world.trace.say("law", breach)
    return Verdict(
        plan,
        breaches,
        world.trace.digest(),
        world.trace.lines,
        world.trace.reached,
        world.loop.steps,
        world.loop.time(),
    )


def stock_up(stage: Stage) -> None:
    """Migrate every database and take the goods in, by way of the catalog and its events."""
    plan = Plan(0, 0, 0.0, {}, {}, exclusive=True, durable=True, novelty=False, thorough=True)
    world = World(plan, stage)
    for host in world.hosts:
        # Before the time at which every seed begins.
        host.clock.skew_s = -3600.0

    async def story() -> None:
        await world.begin()
        clerk = Person(world.town, "clerk", "staff", random.Random(0))
        for product, (price, quantity) in people.GOODS.items():
            body = {"id": product, "name": product, "price": price, "quantity": quantity}
            answer = await clerk.insist("catalog", "POST", "/products", body, key=product)
            assert answer is not None
            assert answer.status == 201, answer.body
        left = await world.rest()
        assert not left, left

    world.run(story())
    stage.keep()


def _people(world: World) -> list[Coroutine[Any, Any, None]]:
    plan, town = world.plan, world.town
    clerk = Person(town, "clerk", "staff", random.Random(f"clerk {plan.seed}"))
    buyer = Person(town, "buyer", "staff", random.Random(f"buyer {plan.seed}"))
    work = [staff.work_as_staff(clerk, plan.chaos_s)]
    if plan.novelty:
        work.append(staff.bring_a_novelty(buyer))
    for number in range(1, plan.orders + 1):
        dice = random.Random(f"customer {number} {plan.seed}")
        if dice.random() < 0.12:
            work.append(staff.order_an_amount(Person(town, "clerk", "staff", dice), f"customer-{number}"))
        else:
            work.append(people.shop(Person(town, f"customer-{number}", "customer", dice)))
    return work


async def _nothing() -> None:
    """Let everybody who was cancelled end."""
    for _ in range(3):
        await asyncio.sleep(0)
