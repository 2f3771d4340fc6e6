"""The auditor: look at everything, wait, look again at what did not add up, and report what still does not.

The services are read at different moments, so while orders move much looks wrong for an instant. A difference counts
only when it is still there a settle time later and no row that it rests on has changed in between. What does change is
looked at again, `LOOKS` times in all; what still moves then is under way, and the next audit's.

Invariants: nothing is stopped, locked or changed; memory holds one page, at most `MOST_SUSPECTS` ids with digests, and
at most `MOST_NAMED` findings of a kind.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from orderwright.audit.books import SANDBOX, Books
from orderwright.audit.charges import ChargeCheck
from orderwright.audit.checks import Check, Moment, Settling, Suspect
from orderwright.audit.findings import Report
from orderwright.audit.messages import MessageCheck, keys_under_way, lag
from orderwright.audit.orders.check import OrderCheck
from orderwright.audit.products import ProductCheck
from orderwright.audit.settings import AuditSettings
from orderwright.audit.stock import StockCheck
from orderwright.kernel.clock import Clock

LOOKS: Final = 4
"""The first and at most three more."""
MOST_SUSPECTS: Final = 10_000
"""So many are settled together before the first look goes on."""
LATE: Final = timedelta(seconds=5)
"""A service that hears so much later than it was said is worth a note."""
LAG_HOLDS_S: Final = 1.0
"""So long the lag of the services is taken for what it was."""

Pause = Callable[[float], Awaitable[None]]
"""Called after each page with the seconds that it took."""
Suspects = Mapping[str, Suspect]


class Auditor:
    """Audits the books under one database URL. `provider` names who takes the money."""

    def __init__(
        self, url: str, settings: AuditSettings, clock: Clock, *, provider: str, pause: Pause | None = None
    ) -> None:
        self._url = url
        self._settings = settings
        self._clock = clock
        self._provider = provider
        self._pause = pause
        self._turn = 0

    async def run(self) -> Report:
        """One audit. CannotRead when a database does not answer, or is none of ours."""
        report, began_s = Report(self._clock.now()), self._clock.monotonic_s()
        if self._provider != SANDBOX:
            report.notes.append(f"The books of {self._provider} are not read here; compare its report with payments")
        async with Books(self._url, sandbox=self._provider == SANDBOX) as books:
            patience = _Patience(books, report, self._settings, self._clock)
            for check in self._checks(books):
                audit = _Audit(check, books, report, patience, self._pause)
                await audit.carry_out()
        self._turn += 1
        report.took_s = self._clock.monotonic_s() - began_s
        return report

    def _checks(self, books: Books) -> Sequence[Check]:
        page = self._settings.page
        return (
            MessageCheck(books, page=page),
            OrderCheck(books, page=page, histories=self._settings.histories, turn=self._turn),
            ChargeCheck(books, page=page),
            StockCheck(books),
            ProductCheck(books, page=page),
        )


class _Patience:
    """Says what is too young to be judged: more than the grace while somebody hears late, because then more moves."""

    def __init__(self, books: Books, report: Report, settings: AuditSettings, clock: Clock) -> None:
        self._books = books
        self._report = report
        self.settings = settings
        self.clock = clock
        self._late = timedelta(0)
        self._known_until_s: float | None = None

    async def moment(self) -> Moment:
        """Now, and what is young now."""
        now_s = self.clock.monotonic_s()
        if self._known_until_s is None or now_s > self._known_until_s:
            slowest, self._late = await lag(self._books, self.clock.now())
            if self._late > LATE and self._known_until_s is None:
                late_s = self._late.total_seconds()
                self._report.notes.append(f"{slowest} hears {late_s:.0f} s late; what is younger was not judged")
            self._known_until_s = now_s + LAG_HOLDS_S
        grace_s = self.settings.grace_s + self._late.total_seconds()
        return Moment.at(self.clock.now(), grace_s=grace_s, overdue_s=self.settings.overdue_s)


class _Audit:
    """One check, carried out once."""

    def __init__(self, check: Check, books: Books, report: Report, patience: _Patience, pause: Pause | None) -> None:
        self._check = check
        self._books = books
        self._report = report
        self._patience = patience
        self._settings = patience.settings
        self._clock = patience.clock
        self._pause = pause
        self._waited_for: set[str] = set()
        """Keys for which a message waited already at the first look: it may be heard at any moment since."""

    async def carry_out(self) -> None:
        """Look at everything; report what stays wrong."""
        async for suspects in self._first_look():
            self._report.suspects += len(suspects)
            self._waited_for = await self._under_way(suspects.values())
            match self._check.settling:
                case Settling.AT_ONCE:
                    await self._tell(suspects.values())
                case Settling.SOON:
                    await self._settle_soon(suspects)
                case Settling.SLOWLY:
                    await self._settle_slowly(suspects)

    async def _first_look(self) -> AsyncIterator[Suspects]:
        """Everything that looks wrong, in waves."""
        suspects: dict[str, Suspect] = {}
        began_s = self._clock.monotonic_s()
        async for ids in self._check.pages(await self._patience.moment()):
            if ids:
                self._report.looked_at[self._check.name] += len(ids)
                suspects |= {one.id: one for one in await self._check.look(ids, await self._patience.moment())}
            if self._pause is not None:
                await self._pause(self._clock.monotonic_s() - began_s)
                began_s = self._clock.monotonic_s()
            if len(suspects) >= MOST_SUSPECTS:
                yield suspects
                suspects = {}
        if suspects:
            yield suspects

    async def _settle_soon(self, suspects: Suspects) -> None:
        for _ in range(LOOKS - 1):
            if not suspects:
                return
            again = await self._look_again(suspects, self._settings.settle_s)
            await self._tell(one for one in again.values() if one.mark == suspects[one.id].mark)
            suspects = {one.id: one for one in again.values() if one.mark != suspects[one.id].mark}
        self._report.under_way += len(suspects)

    async def _settle_slowly(self, suspects: Suspects) -> None:
        # Most of it is gone in a moment; only for what is left it is worth to wait.
        for wait_s in (self._settings.settle_s, self._settings.grace_s):
            if not suspects:
                return
            again = await self._look_again(suspects, wait_s)
            unmoved = {one.id: one for one in again.values() if one.mark == suspects[one.id].mark}
            self._report.under_way += len(again) - len(unmoved)
            suspects = unmoved
        await self._tell(suspects.values())

    async def _look_again(self, suspects: Suspects, wait_s: float) -> Suspects:
        await self._clock.sleep(wait_s)
        found: dict[str, Suspect] = {}
        for ids in _pages(list(suspects), self._settings.page):
            found |= {one.id: one for one in await self._check.look(ids, await self._patience.moment())}
        return found

    async def _tell(self, settled: Iterable[Suspect]) -> None:
        """Report them, without those for which a message waits or waited a moment ago: they will move."""
        settled = list(settled)
        moving = self._waited_for | await self._under_way(settled)
        for finding in (finding for suspect in settled for finding in suspect.findings):
            if finding.key in moving:
                self._report.under_way += 1
            else:
                self._report.add(finding)

    async def _under_way(self, suspects: Iterable[Suspect]) -> set[str]:
        keys = {finding.key for suspect in suspects for finding in suspect.findings if finding.key is not None}
        moving: set[str] = set()
        for page in _pages(sorted(keys), self._settings.page):
            moving |= await keys_under_way(self._books, page)
        return moving


def _pages(ids: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
