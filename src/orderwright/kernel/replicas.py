"""The replicas of a service: which there are, how they are, and which of them is asked next.

Invariants: who does not answer, or is not well, is left alone while another is well, for longer each time, and comes
back by itself. When none answers, one request at a time finds out whether that is still so, and the others are refused
at once. Requests begin the checks and look-ups that are due and never wait for them, except where no replica is known.
"""

import asyncio
import math
import ssl
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
import structlog

from orderwright.kernel.addressing import LookUp, LookUpTimes, Names, Origin
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import Unavailable
from orderwright.kernel.ids import Ids
from orderwright.kernel.replica import Condition, Replica
from orderwright.kernel.retry import Backoff
from orderwright.kernel.telemetry import Metrics

log = structlog.get_logger(__name__)

FAULTS_TO_AIL = 3
"""Failures in a row; fewer than open a breaker, so that the one that is ill is left out before its service is."""
SILENCES_TO_BE_OUT = 3
"""So often in a row must the last replica that answers fail to say how it is; too much work looks like that too."""
REST = Backoff(first_s=1, factor=2, max_s=30, attempts=None)
STEADY_S = 60.0
"""Who was well for so long begins anew with the shortest rest."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each thing may take, in seconds."""

    connect_s: float = 2.0
    doubt_after_s: float = 0.75
    """A replica that has not begun to answer by then is asked how it is."""
    check_s: float = 1.0
    """A replica that takes longer to say how it is does not answer."""
    check_again_s: float = 1.0
    look_up: LookUpTimes = field(default_factory=LookUpTimes)


class Replicas:
    """The replicas of one service."""

    def __init__(
        self,
        service: str,
        origins: Sequence[Origin],
        *,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        look_up: LookUp,
        patience: Patience,
    ) -> None:
        self.known: list[Replica] = []
        self._service = service
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._patience = patience
        self._tls = _tls(origins)
        self._names = Names(service, origins, look_up, self._adopt, clock, patience.look_up)
        self._tasks: set[asyncio.Task[None]] = set()
        for origin in origins:
            if not origin.is_name:
                self._adopt(origin, [origin.host])

    async def find(self) -> None:
        """Begin what is due; wait where no replica is known yet. Unavailable when none can be found."""
        looking = self._names.begin_look_up(is_urgent=not any(replica.answers for replica in self.known))
        for replica in self.known:
            if replica.condition is not Condition.WELL and self._clock.monotonic_s() >= replica.rest_until_s:
                self._begin_check(replica)
        if not self.known and looking is not None:
            # Those who wait together wait for one look-up, and none of them takes it away from the others.
            await asyncio.shield(looking)
        if not self.known:
            raise Unavailable(f"No address of the {self._service} service is known at the moment")

    @contextmanager
    def engaged(self, tried: Collection[Replica]) -> Iterator[Replica]:
        """The replica to ask, busy meanwhile. Unavailable, at once, when none answers and one is being tried."""
        found = self.another(tried)
        replica = found or self._one_to_probe()
        if found is None:
            replica.is_probed = True
            replica.times_probed += 1
        replica.outstanding += 1
        try:
            yield replica
        finally:
            replica.outstanding -= 1
            if found is None:
                replica.is_probed = False
            self._let_go(replica)

    def has_another(self, tried: Collection[Replica]) -> bool:
        """Whether one that is none of `tried` answers."""
        return any(replica.answers and replica not in tried for replica in self.known)

    def another(self, tried: Collection[Replica]) -> Replica | None:
        """One that answers and is none of `tried`, a well one if there is; None when there is none."""
        untried = [replica for replica in self.known if replica not in tried]
        best = [replica for replica in untried if replica.is_first_choice]
        candidates = best or [replica for replica in untried if replica.answers]
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        # The less busy of two random ones: nearly as even as the least busy of all, and no crowd runs to the same one.
        first = candidates.pop(int(self._ids.jitter() * len(candidates)))
        second = candidates[int(self._ids.jitter() * len(candidates))]
        return first if first.outstanding <= second.outstanding else second

    def is_alone_in_failing(self, replica: Replica) -> bool:
        """Whether a failure there says nothing of the service: it is not well, or in doubt, and another is well."""
        others = [other for other in self.known if other is not replica]
        return not replica.is_first_choice and any(other.condition is Condition.WELL for other in others)

    def answered(self, replica: Replica, status: int, *, has_room: bool = True) -> None:
        """It answered a request with `status`; without room for it, that is no fault."""
        replica.silences = 0
        replica.answers_given += 1
        if status >= 500 and has_room:
            self._fault(replica, f"answered {status}")
            if status == 503:
                self._begin_check(replica)
            return
        replica.faults = 0
        if replica.is_probed:
            self._well(replica)

    def refused(self, replica: Replica) -> None:
        """It cannot be connected to."""
        self._leave_out(replica, Condition.OUT, "cannot be connected to")

    def broke(self, replica: Replica, because: str) -> None:
        """It was sent a request and did not answer, or not to the end."""
        if replica.is_probed:
            self._leave_out(replica, Condition.OUT, because)
            return
        self._fault(replica, because)
        self._begin_check(replica)

    def doubt(self, replica: Replica) -> None:
        """It takes long to answer: have it asked how it is."""
        self._begin_check(replica)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._names.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for replica in self.known:
            await replica.close()

    def _one_to_probe(self) -> Replica:
        if any(replica.is_probed for replica in self.known):
            rest_s = min(replica.rest_until_s for replica in self.known) - self._clock.monotonic_s()
            raise Unavailable(
                f"No replica of the {self._service} service answers ({len(self.known)} known)",
                problem="service-unavailable",
                retry_after_s=max(1, math.ceil(rest_s)),
            )
        return min(self.known, key=lambda replica: replica.times_probed)

    def _fault(self, replica: Replica, because: str) -> None:
        replica.faults += 1
        if replica.condition is Condition.OUT and replica.is_probed:
            self._leave_out(replica, Condition.AILING, because)
        elif replica.condition is Condition.WELL and replica.faults >= FAULTS_TO_AIL:
            self._leave_out(replica, Condition.AILING, f"{because}, {replica.faults} failures in a row")

    def _leave_out(self, replica: Replica, condition: Condition, because: str) -> None:
        now_s = self._clock.monotonic_s()
        if replica.is_gone or (replica.condition is condition and now_s < replica.rest_until_s):
            # Those that were on their way together tell of one failure.
            return
        if replica.condition is Condition.WELL and now_s - replica.well_since_s > STEADY_S:
            replica.times_left_out = 0
        replica.times_left_out += 1
        rest_s = REST.delay_s(replica.times_left_out, self._ids.jitter()) or REST.max_s
        replica.rest_until_s = now_s + rest_s
        if replica.condition is not condition:
            replica.condition = condition
            log.warning(
                "replica_left_out",
                service=self._service,
                replica=str(replica),
                condition=condition.value,
                because=because,
                for_s=round(rest_s, 1),
            )
        self._show()
        if condition is Condition.OUT and self.has_another([replica]):
            for patience in replica.movable:
                if not patience.expired():
                    patience.reschedule(asyncio.get_running_loop().time())

    def _well(self, replica: Replica) -> None:
        if replica.condition is Condition.WELL:
            return
        replica.condition = Condition.WELL
        replica.is_probed = False
        replica.times_probed = 0
        replica.well_since_s = self._clock.monotonic_s()
        # Until it has answered a request, the next failure is one too many.
        replica.faults = FAULTS_TO_AIL - 1
        log.info("replica_well_again", service=self._service, replica=str(replica))
        self._show()

    def _show(self) -> None:
        left_out = sum(replica.condition is not Condition.WELL for replica in self.known)
        self._metrics.replicas.labels(self._service).set(len(self.known))
        self._metrics.replicas_left_out.labels(self._service).set(left_out)

    def _begin_check(self, replica: Replica) -> None:
        is_recent = self._clock.monotonic_s() - replica.checked_at_s < self._patience.check_again_s
        is_asked_by_request = replica.is_probed
        if replica.check is None and not replica.is_gone and not is_recent and not is_asked_by_request:
            replica.check = asyncio.create_task(self._check(replica))
            self._watch(replica.check)

    async def _check(self, replica: Replica) -> None:
        given = replica.answers_given
        try:
            async with asyncio.timeout(self._patience.check_s):
                status = await replica.ask_ready()
        except TimeoutError:
            # Who answered something meanwhile is busy, and not away.
            if replica.answers_given == given:
                self._silent(replica)
        except aiohttp.ClientError as error:
            self._leave_out(replica, Condition.OUT, f"does not say how it is: {type(error).__name__}")
        else:
            replica.silences = 0
            if status >= 500:
                self._leave_out(replica, Condition.AILING, "is not ready")
            elif self._clock.monotonic_s() >= replica.rest_until_s:
                self._well(replica)
        finally:
            replica.checked_at_s = self._clock.monotonic_s()
            replica.check = None

    def _silent(self, replica: Replica) -> None:
        replica.silences += 1
        is_out = replica.silences >= SILENCES_TO_BE_OUT or self.has_another([replica])
        because = f"did not say within {self._patience.check_s:g} s how it is"
        self._leave_out(replica, Condition.OUT if is_out else Condition.AILING, because)

    def _adopt(self, origin: Origin, ips: Sequence[str]) -> None:
        """Take it that `origin` stands for `ips` from now on; nobody is let go for an empty answer."""
        if not ips:
            return
        for replica in [known for known in self.known if known.origin == origin and known.ip not in ips]:
            self.known.remove(replica)
            replica.is_gone = True
            log.info("replica_gone", service=self._service, replica=str(replica))
            self._let_go(replica)
        there = {(replica.origin, replica.ip) for replica in self.known}
        self.known.extend(
            Replica(origin, ip, self._tls, self._patience.connect_s) for ip in ips if (origin, ip) not in there
        )
        self._show()

    def _let_go(self, replica: Replica) -> None:
        if replica.is_gone and not replica.outstanding:
            self._watch(asyncio.create_task(replica.close()))

    def _watch(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _tls(origins: Sequence[Origin]) -> ssl.SSLContext:
    """Whom to trust. Reading the machine's certificates takes a while, and is left out where there is no TLS."""
    if any(origin.scheme == "https" for origin in origins):
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
