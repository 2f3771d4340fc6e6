"""A service that runs: its manifest brought to life with a database, a broker, a consumer, a relay and its jobs.

Invariants: the consumer has joined its group before anything is sent, so nothing passes it by. A background loop that
fails is started again and readiness says so meanwhile. Stopping finishes what was begun: no new work, then commit,
acknowledge, send, close.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from orderwright import __version__
from orderwright.kernel import context, idempotency, inbox, outbox
from orderwright.kernel.auth import TokenVerifier
from orderwright.kernel.broker import Broker
from orderwright.kernel.clock import Clock
from orderwright.kernel.consumer import Consumer, cancelled_quietly, finished_or_cancelled
from orderwright.kernel.database import Database
from orderwright.kernel.deadletters import kept, reading
from orderwright.kernel.deadletters.attempts import RETRY_JOB
from orderwright.kernel.deadletters.desk import DeadLetterDesk
from orderwright.kernel.edge import Edge
from orderwright.kernel.errors import BrokerUnavailable, DatabaseUnavailable
from orderwright.kernel.feed import Feed
from orderwright.kernel.health import health_router
from orderwright.kernel.ids import Ids
from orderwright.kernel.jobs import Job, JobRunner
from orderwright.kernel.manifest import Kit, Manifest, Service
from orderwright.kernel.migrations import check_migrated, migrate
from orderwright.kernel.peers import Peers
from orderwright.kernel.relay import Relay
from orderwright.kernel.settings import ALL_ROLES, PlatformSettings, Role
from orderwright.kernel.telemetry import Metrics
from orderwright.kernel.unit import UnitOfWork, Units
from orderwright.kernel.web import create_app

log = structlog.get_logger(__name__)

RETRY_EVERY_S = 5.0
"""How often a quiet service looks for messages that others kept; its own ones it tries when their time has come."""
HOUSEKEEPING_EVERY_S = 300.0
RESTART_AFTER_S = 1.0
ROOM_FOR_PEERS = 0.25
"""The share of its requests that a service answers beyond them, for other services."""


class Runtime:
    """One running service."""

    def __init__(
        self,
        manifest: Manifest,
        name: str,
        *,
        database: Database,
        broker: Broker,
        peers: Peers,
        platform: PlatformSettings,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        roles: frozenset[Role] = ALL_ROLES,
        declare: Callable[[], Awaitable[None]] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self.roles = roles
        self.database = database
        self.units = Units(name, database, clock, ids, Feed())
        self.service: Service = manifest(Kit(platform, self.units, peers, clock, ids, self.units.feed, metrics))
        self.relay = Relay(name, database, broker, clock, declare=declare, sweeps="relay" in roles)
        self.consumer = Consumer(
            name,
            self.service.consumes,
            broker,
            self.units,
            patience_s=self.service.patience_s,
            urgent=self.service.urgent,
            optimistic=self.service.optimistic,
        )
        self.stopping = False
        self._hears = bool(self.service.consumes) and "worker" in roles
        self._platform = platform
        self._broker = broker
        self._clock = clock
        self._metrics = metrics
        self._notes: Mapping[str, str] = {} if notes is None else notes
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._broken: dict[str, str] = {}
        self._runners = {job.name: JobRunner(job, clock, ids) for job in self._jobs_here()}
        if RETRY_JOB in self._runners:
            self.consumer.retries.kept_one = self._runners[RETRY_JOB].wake
        self.units.sends_at_once = self.relay.takes
        self.units.after_commit.append(self._after_commit)
        self.api = self._make_api(peers, platform)
        self.app: ASGIApp = self._edge(self.api, name, ids)
        """All that the service answers, for callers in this process."""
        self.door: ASGIApp = self.app if "api" in roles else self._edge(self._make_probes(), name, ids)
        """What it answers to the world: without the role `api`, whether it is well."""

    def _edge(self, api: FastAPI, name: str, ids: Ids) -> Edge:
        return Edge(
            api,
            service=name,
            clock=self._clock,
            ids=ids,
            metrics=self._metrics,
            max_body_bytes=self._platform.max_body_bytes,
            timeout_s=self._platform.request_timeout_s,
            max_at_once=self._platform.max_requests_at_once,
            room_for_peers=math.ceil(self._platform.max_requests_at_once * ROOM_FOR_PEERS),
        )

    async def migrate(self) -> None:
        """Bring the database up to date, or see that somebody did."""
        if self._platform.migrate == "by-hand":
            await check_migrated(self.database, self.service.migrations)
        elif await migrate(self.database, self.service.migrations):
            log.info("migrated", service=self.service.name)
        if self.database.exclusive and not self._broker.capabilities.shared:
            await self.database.write(self._release_leases)

    async def join(self) -> None:
        """Join the broker's group, if it can be reached."""
        if self._hears:
            try:
                await self.consumer.subscribe()
            except BrokerUnavailable as error:
                # It joins when the broker is back; until then its messages wait there, or in the outboxes.
                log.warning("consumer_waits_for_broker", service=self.service.name, reason=str(error))

    async def start(self) -> None:
        """Run what runs by itself."""
        for hook in self.service.on_start:
            await hook()
        if self._hears:
            self._spawn("consumer", self.consumer.run_forever)
        self._spawn("relay", self.relay.run_forever)
        for name, runner in self._runners.items():
            self._spawn(f"job {name}", runner.run_forever)

    def stop_hearing(self) -> None:
        """Take no more messages; what is in hand is finished."""
        self.stopping = True
        self.consumer.stop()

    async def stop(self) -> None:
        """Finish what was begun, then let go of everything; what takes too long is rolled back, and comes again."""
        self.stop_hearing()
        consumer = self._tasks.pop("consumer", None)
        if consumer is not None:
            await finished_or_cancelled(consumer, self._platform.stop_timeout_s)
        relay = self._tasks.pop("relay", None)
        for task in self._tasks.values():
            await cancelled_quietly(task)
        await self.units.drain()
        if relay is not None:
            await self._send_the_rest()
            await cancelled_quietly(relay)
            await self._flush()
        for hook in self.service.on_stop:
            await hook()
        await self.database.close()

    async def _send_the_rest(self) -> None:
        try:
            async with asyncio.timeout(self._platform.stop_timeout_s):
                await self.relay.drain()
        except TimeoutError:
            log.warning("left_in_the_outbox", service=self.service.name, reason=self.relay.problem)

    async def _flush(self) -> None:
        try:
            await self.relay.flush()
        except DatabaseUnavailable as error:
            # The rows are sent once more, and dropped by the inboxes.
            log.warning("outbox_not_trimmed", service=self.service.name, reason=str(error))

    def _release_leases(self, connection: sa.Connection) -> None:
        """What a crash left leased is nobody's: there is no other process that could be at work on it."""
        now = self._clock.now()
        outbox.release_all(connection, now)
        idempotency.release(connection, now)
        kept.release(connection, now)

    def _make_api(self, peers: Peers, platform: PlatformSettings) -> FastAPI:
        api = create_app(
            f"orderwright {self.service.name}",
            self.service.summary,
            routers=[*self.service.routers, self._health()],
            version=__version__,
        )
        api.state.desk = self.service.desk
        api.state.dead_letters = DeadLetterDesk(self.consumer.handlers, self.units)
        api.state.verifier = TokenVerifier(lambda: _published_keys(peers), self._clock)
        api.state.platform = platform
        return api

    def _make_probes(self) -> FastAPI:
        name = self.service.name
        return create_app(f"orderwright {name}", "Whether it is well", routers=[self._health()], version=__version__)

    def _health(self) -> APIRouter:
        pings = {"database": self.database.ping, "broker": self._broker.ping, **self.service.pings}
        return health_router(self.service.name, pings, self._reasons, self._metrics, self._told)

    def _told(self) -> Mapping[str, str]:
        return {**self._notes, **self.service.notes}

    def _reasons(self) -> Mapping[str, str]:
        reasons = dict(self._broken)
        if self.stopping:
            reasons["process"] = "stopping"
        if self.relay.problem:
            reasons["relay"] = self.relay.problem
        if self.consumer.stopped_because:
            reasons["consumer"] = self.consumer.stopped_because
        return reasons

    def _after_commit(self, uow: UnitOfWork) -> None:
        self.relay.hand_over(uow.said)
        note = log.bind(service=self.service.name)
        for message in uow.said:
            self._metrics.events_said.labels(self.service.name, message.name).inc()
            note.info(
                "event_said",
                said=message.name,
                event_id=message.id,
                key=message.key,
                trace_id=context.trace_id(message.traceparent) if message.traceparent else None,
            )
        for name in uow.jobs_woken:
            # A job that runs in another process finds its work at its next turn.
            if name in self._runners:
                self._runners[name].wake()

    def _jobs_here(self) -> Iterator[Job]:
        if "jobs" in self.roles:
            yield from self.service.jobs
            yield Job("housekeeping", self._keep_house, HOUSEKEEPING_EVERY_S)
        if self._hears:
            retries = self.consumer.retries
            yield Job(RETRY_JOB, retries.run_due, RETRY_EVERY_S, retries.due_in_s)

    async def _keep_house(self) -> bool:
        now = self._clock.now()
        name = self.service.name
        waiting, _ = await self.database.glance(outbox.waiting)
        self._metrics.outbox_waiting.labels(name).set(waiting)
        for state, count in (await self.database.glance(reading.counts)).items():
            self._metrics.messages_kept.labels(name, state).set(count)
        removed = await self.database.write(lambda connection: inbox.forget(connection, now))
        removed += await self.database.write(lambda connection: idempotency.forget(connection, now))
        removed += await self.database.write(lambda connection: kept.forget(connection, now))
        return removed > 0

    def _spawn(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        self._tasks[name] = asyncio.create_task(self._supervised(name, loop), name=f"{self.service.name} {name}")

    async def _supervised(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await loop()
            except Exception as error:
                self._broken[name] = f"failed and is started again: {type(error).__name__}"
                log.exception("loop_failed", service=self.service.name, loop=name)
                await self._clock.sleep(RESTART_AFTER_S)
                self._broken.pop(name, None)
            else:
                return


async def _published_keys(peers: Peers) -> Mapping[str, object]:
    answer = await peers.ask("identity", "GET", "/.well-known/jwks.json", anonymous=True)
    document: Mapping[str, object] = answer.json()
    return document
