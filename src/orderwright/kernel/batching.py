"""Group commit: requests that arrive together share one transaction; alone, a request is a batch of one.

Invariants: each command gets its own outcome. A command that is refused does not disturb its neighbours: an action
returns a refusal as a value. A batch that fails as a whole is done again one by one, unless something is away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

from orderwright.kernel import idempotency
from orderwright.kernel.clock import Clock
from orderwright.kernel.databases.optimistic import OptimisticConnection
from orderwright.kernel.errors import BrokerUnavailable, BusinessError, DatabaseUnavailable, NeedsLocks, Unavailable
from orderwright.kernel.idempotency import Answer, Claim, Fresh, Resume, Verdict
from orderwright.kernel.pace import Pace
from orderwright.kernel.unit import UnitOfWork, Units

BUSY_PER_S = 25.0
LINGER_S = 0.004
"""So long a caller waits for company while at least BUSY_PER_S of them come a second."""
COMPANY = 2
"""So many who come to an action have company, and wait for no more of it.

They waited together for something before, as orders do for payment's word, or one of them did for the batch in hand.
"""
AWAY = (Unavailable, DatabaseUnavailable, BrokerUnavailable)
"""What is away is so for a whole batch. Asking for each of a hundred alone would take a hundred timeouts, and who comes
meanwhile would wait for all of them; and what had an unknown outcome would be done a second time.
"""

C = TypeVar("C")
R = TypeVar("R")

Action = Callable[[UnitOfWork, Sequence[C]], Sequence[R | BusinessError]]
"""Carries out many commands in one transaction; one result or refusal a command, in their order."""


def pace_of_requests(clock: Clock) -> Pace:
    """How long a request waits for others."""
    return Pace(clock, busy_per_s=BUSY_PER_S, linger_s=LINGER_S)


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """The work is committed; `result` is what the action returned, or what a crashed request had left."""

    result: R


class Gathered(Generic[C, R]):
    """Calls one asynchronous function of many for callers that each have one; alone, a caller is a batch of one."""

    def __init__(
        self,
        carry_out: Callable[[Sequence[C]], Awaitable[Sequence[R | Exception]]],
        *,
        max_batch: int = 100,
        pace: Pace | None = None,
        enough: int | None = None,
    ) -> None:
        """Nobody waits for more company where `enough` are together."""
        self._carry_out = carry_out
        self._pace = pace
        self._max_batch = max_batch
        self._enough = enough or max_batch
        self._waiting: list[tuple[C, asyncio.Future[R]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: C) -> R:
        """Have `item` carried out with whatever else is waiting."""
        outcome: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, outcome))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await outcome

    async def _work(self) -> None:
        while self._waiting:
            if self._pace is not None:
                await self._pace.linger(full=len(self._waiting) >= self._enough)
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            with self._pace.batch(len(batch)) if self._pace is not None else nullcontext():
                await self._settle(batch)

    async def _settle(self, batch: "Sequence[tuple[C, asyncio.Future[R]]]") -> None:
        try:
            results: Sequence[R | Exception] = await self._carry_out([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, AWAY):
                for pair in batch:
                    await self._settle([pair])
                return
            results = [error] * len(batch)
        for (_, outcome), result in zip(batch, results, strict=True):
            if outcome.done():
                continue
            if isinstance(result, Exception):
                outcome.set_exception(result)
            else:
                outcome.set_result(result)


class Intake(Generic[C, R]):
    """Collects commands for one action; R must survive JSON, because a claim remembers it."""

    def __init__(self, units: Units, action: Action[C, R], *, max_batch: int = 100, optimistic: bool = False) -> None:
        """An action is `optimistic` when it needs no locks: it reads, then it writes what still holds."""
        self._action = action

        async def carry_out(batch: Sequence[tuple[C, Claim | None]]) -> Sequence[Done[R] | Answer | Exception]:
            return await units.run(lambda uow: self._transact(uow, batch), optimistic=optimistic)

        async def store(batch: Sequence[tuple[Claim, Answer]]) -> Sequence[Answer]:
            return await units.database.write(lambda connection: idempotency.stored(connection, batch))

        self._gathered: Gathered[tuple[C, Claim | None], Done[R] | Answer] = Gathered(
            carry_out, max_batch=max_batch, pace=pace_of_requests(units.clock), enough=COMPANY
        )
        self._answered: Gathered[tuple[Claim, Answer], Answer] = Gathered(
            store, max_batch=max_batch, pace=pace_of_requests(units.clock)
        )

    async def submit(self, command: C, claim: Claim | None = None) -> Done[R] | Answer:
        """Have `command` carried out. Raises its BusinessError when it was refused."""
        return await self._gathered.submit((command, claim))

    async def store(self, claim: Claim, answer: Answer) -> Answer:
        """Keep what every repetition of the request is answered with: this, unless it was answered before."""
        return await self._answered.submit((claim, answer))

    def _transact(
        self, uow: UnitOfWork, batch: Sequence[tuple[C, Claim | None]]
    ) -> Sequence[Done[R] | Answer | BusinessError]:
        if uow.optimistic:
            return self._transact_optimistically(uow, uow.optimistic, batch)
        verdicts = _verdicts(uow, [claim for _, claim in batch])
        to_do = [command for (command, _), verdict in zip(batch, verdicts, strict=True) if isinstance(verdict, Fresh)]
        results = iter(self._action(uow, to_do) if to_do else ())
        outcomes: list[Done[R] | Answer | BusinessError] = []
        to_remember: list[tuple[Claim, R]] = []
        for (_, claim), verdict in zip(batch, verdicts, strict=True):
            match verdict:
                case Fresh():
                    outcomes.append(_settle(uow, claim, next(results), to_remember))
                case Resume(result):
                    outcomes.append(Done(result))
                case _:
                    outcomes.append(verdict)
        idempotency.remember(uow, to_remember)
        return outcomes

    def _transact_optimistically(
        self, uow: UnitOfWork, connection: OptimisticConnection, batch: Sequence[tuple[C, Claim | None]]
    ) -> Sequence[Done[R] | Answer | BusinessError]:
        outcomes: list[Done[R] | Answer | BusinessError] = []
        to_remember: list[tuple[Claim, R]] = []
        results = self._action(uow, [command for command, _ in batch])
        for (_, claim), result in zip(batch, results, strict=True):
            if claim is not None and isinstance(result, BusinessError):
                raise NeedsLocks("What is refused now may have been done, and answered, before")
            outcomes.append(_settle(uow, claim, result, to_remember))
        idempotency.claim_done(uow, connection, to_remember)
        return outcomes


def _verdicts(uow: UnitOfWork, claims: Sequence[Claim | None]) -> list[Verdict]:
    known = iter(idempotency.claim(uow, [claim for claim in claims if claim is not None]))
    return [Fresh() if claim is None else next(known) for claim in claims]


def _settle(
    uow: UnitOfWork, claim: Claim | None, result: R | BusinessError, to_remember: list[tuple[Claim, R]]
) -> "Done[R] | BusinessError":
    if isinstance(result, BusinessError):
        if claim is not None:
            idempotency.withdraw(uow, claim)
        return result
    if claim is not None:
        to_remember.append((claim, result))
    return Done(result)
