"""One run: build up, faults under load, healing, rest, judges.

Invariant: everything that was started is ended, however the run ends; the journal and the logs stay.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2

from chaos.customers import Customer, customers, fill_shelves
from chaos.faults import Fault, schedule
from chaos.journal import Journal
from chaos.judges import Verdict, judge
from chaos.links import links
from chaos.platform import Keeper, Wired
from chaos.servers import Servers, servers
from chaos.striker import Striker, Struck
from orderwright.services.payment.actions.charges import NEVER_ARRIVES_AFTER
from tools.fleet import running

ANSWERED_WITHIN_S: Final = 120.0
"""So long after the last fault everybody who asked must have been answered."""
REST_S: Final = NEVER_ARRIVES_AFTER.total_seconds() + 120.0
"""So long after everything was started anew all orders must have ended and all books agree.

The longest that is promised is how long a charge of a cancelled order is asked for that the provider never heard of."""
PROGRESS_EVERY_S: Final = 15.0
TIMEOUT_S: Final = 12.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is to be."""

    seed: int
    broker: str
    length_s: float
    folder: Path
    customers: int = 8
    kinds: tuple[str, ...] | None = None
    """Only these faults; None: all."""


@dataclass
class Outcome:
    """What a run came to."""

    wanted: Wanted
    faults: list[Fault]
    struck: list[Struck] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    journal: Journal | None = None
    ended: Counter[str] = field(default_factory=Counter)
    """Processes that ended by themselves."""
    statuses: dict[str, int] = field(default_factory=dict)
    """How the processes ended when they were told to."""
    errors: Counter[str] = field(default_factory=Counter)
    """Errors in the logs, by service and event."""
    small_disk: bool = False

    @property
    def broken(self) -> list[str]:
        """Promises that were broken."""
        return self.verdict.broken


async def run(wanted: Wanted, tell: Tell) -> Outcome:
    """Carry a run out. CannotStart or DidNotStart where this machine has not got what it takes."""
    kinds = wanted.kinds
    faults = schedule(wanted.seed, wanted.length_s, *(() if kinds is None else (kinds,)))
    outcome = Outcome(wanted, faults)
    wanted.folder.mkdir(parents=True, exist_ok=True)
    tell(f"seed {wanted.seed}: {len(faults)} faults in {wanted.length_s:.0f} s on PostgreSQL and {wanted.broker}")
    with servers(wanted.folder, wanted.broker) as stand_on:
        outcome.small_disk = stand_on.small_disk
        data = wanted.folder / "data"
        data.mkdir(exist_ok=True)
        fleet = Wired(data, stand_on)
        outcome.journal = Journal(wanted.folder / "journal.jsonl")
        async with links(fleet.places()) as proxies:
            # The processes start in a thread, because their links are served by this one.
            entered = running(fleet)
            await asyncio.to_thread(entered.__enter__)
            try:
                keeper = Keeper(fleet)
                await _live(outcome, stand_on, keeper, Striker(proxies, keeper, stand_on, tell), tell)
            finally:
                await asyncio.to_thread(fleet.kill)
        outcome.errors = errors_of(data)
    return outcome


async def _live(outcome: Outcome, stand_on: Servers, keeper: Keeper, striker: Striker, tell: Tell) -> None:
    fleet, journal, wanted = keeper.fleet, outcome.journal, outcome.wanted
    assert journal is not None
    closing = asyncio.Event()
    api = f"{fleet.address('gateway')}/api/v1"
    limits = httpx2.Limits(max_connections=wanted.customers * 2)
    async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, limits=limits) as client:
        logins = await asyncio.to_thread(fleet.load_demo)
        await fill_shelves(api, client, logins["staff"])
        crowd = customers(wanted.customers, wanted.seed, api, client, journal, closing)
        for customer in crowd:
            await customer.register()
        tell("the platform runs; the faults begin")
        outcome.struck = striker.done
        await _faults_under_load(outcome, keeper, striker, crowd, closing, tell)
        outcome.ended = keeper.ended
        tell("everything is healed; every process is stopped and started again")
        outcome.statuses = await asyncio.to_thread(fleet.stop)
        await asyncio.to_thread(fleet.start)
        tell(f"waiting for rest, {REST_S:.0f} s at most")
        outcome.verdict = await judge(stand_on.database_url, journal, crowd, REST_S)


async def _faults_under_load(
    outcome: Outcome, keeper: Keeper, striker: Striker, crowd: Sequence[Customer], closing: asyncio.Event, tell: Tell
) -> None:
    keeping = asyncio.create_task(keeper.keep())
    progress = asyncio.create_task(_progress(outcome, tell))
    buying = [asyncio.create_task(customer.shop()) for customer in crowd]
    try:
        await striker.strike_all(outcome.faults)
        await asyncio.sleep(max(0.0, outcome.wanted.length_s - (outcome.faults[-1].at_s if outcome.faults else 0)))
        striker.heal()
        closing.set()
        tell("no more faults; the customers finish what they began")
        await asyncio.wait(buying, timeout=ANSWERED_WITHIN_S)
        failed = [task.exception() for task in buying if task.done() and not task.cancelled()]
        for error in filter(None, failed):
            raise error
    finally:
        for task in (*buying, keeping, progress):
            task.cancel()
        await asyncio.gather(*buying, keeping, progress, return_exceptions=True)


async def _progress(outcome: Outcome, tell: Tell) -> None:
    began_s = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        journal = outcome.journal
        assert journal is not None
        answered = Counter(said.status for said in journal.of("order"))
        tell(
            f"-- {time.monotonic() - began_s:.0f} s: {sum(answered.values())} orders answered {dict(answered)}, "
            f"{len(journal.unanswered)} asked, {len(outcome.struck)} of {len(outcome.faults)} faults over"
        )


def errors_of(folder: Path) -> Counter[str]:
    """What the processes logged as errors, by service and event."""
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                if said.get("level") in {"error", "critical"}:
                    found[f"{path.stem} {said.get('event')}"] += 1
            elif line.startswith("Traceback"):
                found[f"{path.stem} traceback outside of the log"] += 1
    return found
