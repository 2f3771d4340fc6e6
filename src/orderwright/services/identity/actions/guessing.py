"""Wrong passwords are counted, for an account and for an address, and after a few of them nobody may try for a while.

Invariant: an address that has no account is counted and locked like one that has, so nothing can be learned from it.
"""

from datetime import datetime

from orderwright.kernel.errors import TooManyRequests
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.identity import store
from orderwright.services.identity.domain import lock_for
from orderwright.services.identity.settings import IdentitySettings


def check(uow: UnitOfWork, email: str, address: str) -> None:
    """TooManyRequests while the account or the address is locked, also with the right password."""
    locks = store.locks(uow.connection, [_account(email), _address(address)])
    until = max((at for _, at in locks.values() if at is not None), default=None)
    if until is not None and until > uow.now:
        raise _locked(until, uow.now)


def failed(uow: UnitOfWork, email: str, address: str, settings: IdentitySettings) -> None:
    """A wrong password."""
    subjects = {_account(email): settings.free_attempts, _address(address): settings.address_free_attempts}
    known = store.locks(uow.connection, list(subjects))
    for subject, free in subjects.items():
        failures = known.get(subject, (0, None))[0] + 1
        lock = lock_for(failures, free, settings.first_lock_s, settings.longest_lock_s)
        store.count_failure(uow.connection, subject, failures, None if lock is None else uow.now + lock, uow.now)


def succeeded(uow: UnitOfWork, email: str) -> None:
    """The right password: what was wrong before is forgiven, for the account."""
    store.forget_attempts(uow.connection, subject=_account(email))


def _account(email: str) -> str:
    return f"account:{email}"


def _address(address: str) -> str:
    return f"address:{address}"


def _locked(until: datetime, now: datetime) -> TooManyRequests:
    retry_after_s = max(1, round((until - now).total_seconds()))
    return TooManyRequests(
        "Too many wrong attempts; try again later", problem="too-many-attempts", retry_after_s=retry_after_s
    )
