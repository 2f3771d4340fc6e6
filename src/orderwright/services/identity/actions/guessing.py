"""Wrong secrets are counted, for who is named and for an address, and after a few of them nobody may try for a while.

Invariants: a name that has no account is counted and locked like one that has, so nothing can be learned from it.
Whether an attempt counts is decided after the secret was compared and in one transaction with what follows from it, so
guessing at the same time allows no more guesses than guessing one after the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from orderwright.kernel.errors import TooManyRequests
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.identity import store
from orderwright.services.identity.domain import lock_for
from orderwright.services.identity.settings import IdentitySettings


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt is counted for, with how many wrong ones are free; being right forgives one of the counts."""

    free: Mapping[str, int]
    forgives: str


def of_account(email: str, address: str, settings: IdentitySettings) -> Attempt:
    """An attempt at an account's password. Being right says nothing about others that were tried from the address."""
    account = f"account:{email}"
    free = {account: settings.free_attempts, f"address:{address}": settings.address_free_attempts}
    return Attempt(free, account)


def of_service(address: str, settings: IdentitySettings) -> Attempt:
    """An attempt at the services' secret."""
    services = f"services:{address}"
    return Attempt({services: settings.address_free_attempts}, services)


def check(connection: sa.Connection, attempt: Attempt, now: datetime) -> None:
    """TooManyRequests while nobody may try; spares the work of comparing, decides nothing that `judge` would not."""
    _refuse_while_locked(store.locks(connection, list(attempt.free)), now)


def judge(uow: UnitOfWork, attempt: Attempt, settings: IdentitySettings, *, right: bool) -> bool:
    """Count the attempt; answers `right`. TooManyRequests while nobody may try, also with the right secret."""
    subjects = list(attempt.free)
    if not right:
        store.begin_counting(uow.connection, subjects, uow.now)
    known = store.locks(uow.connection, subjects, lock=True)
    _refuse_while_locked(known, uow.now)
    if right:
        store.forgive(uow.connection, attempt.forgives)
        return True
    counted = {}
    for subject, free in attempt.free.items():
        failures = known[subject][0] + 1
        lock = lock_for(failures, free, settings.first_lock_s, settings.longest_lock_s)
        counted[subject] = (failures, None if lock is None else uow.now + lock)
    store.count_failures(uow.connection, counted, uow.now)
    return False


def _refuse_while_locked(known: Mapping[str, tuple[int, datetime | None]], now: datetime) -> None:
    until = max((at for _, at in known.values() if at is not None), default=now)
    if until > now:
        raise TooManyRequests(
            "Too many wrong attempts; try again later",
            problem="too-many-attempts",
            retry_after_s=math.ceil((until - now).total_seconds()),
        )
