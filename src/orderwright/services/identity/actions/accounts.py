"""Accounts: made by their owners or by an administrator, never with a role that the maker may not give."""

import unicodedata
from collections.abc import Sequence

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from orderwright.kernel.errors import Conflict, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.identity import store
from orderwright.services.identity.domain import Account, check_roles
from orderwright.services.identity.settings import IdentitySettings


def hasher(settings: IdentitySettings) -> PasswordHash:
    """The password hash in use: Argon2id."""
    return PasswordHash(
        (Argon2Hasher(time_cost=settings.argon2_time_cost, memory_cost=settings.argon2_memory_kib, parallelism=1),)
    )


def hash_password(password: str, settings: IdentitySettings) -> str:
    """What is stored of a password. Takes a fifth of a second on purpose: call it in a thread."""
    return hasher(settings).hash(_typed(password))


def verify_password(password: str, password_hash: str | None, settings: IdentitySettings) -> bool:
    """Whether that is the password; takes as long when there is nothing to compare it with."""
    try:
        if password_hash is not None:
            return hasher(settings).verify(_typed(password), password_hash)
    except UnknownHashError:
        pass
    hash_password(password, settings)
    return False


def create_account(
    uow: UnitOfWork,
    email: str,
    password_hash: str,
    roles: Sequence[str],
    *,
    name: str | None = None,
    phone: str | None = None,
    account_id: str | None = None,
) -> Account:
    """A new account. Conflict when the address has one."""
    check_roles(set(roles))
    account = Account(
        id=account_id or uow.ids.new(),
        email=email,
        name=name,
        phone=phone,
        roles=tuple(sorted(set(roles))),
        disabled=False,
        created_at=uow.now,
    )
    if not store.insert_account(uow.connection, account, password_hash):
        raise Conflict("There is an account with this e-mail address", problem="email-taken")
    return account


def set_roles(uow: UnitOfWork, account_id: str, roles: Sequence[str]) -> Account:
    """Give an account exactly these roles. Conflict when nobody could administer any more."""
    check_roles(set(roles))
    if "admin" not in roles:
        _keep_an_admin(uow, account_id)
    _known(uow, account_id)
    store.update_account(uow.connection, account_id, {"roles": sorted(set(roles))}, uow.now)
    return _known(uow, account_id)


def set_disabled(uow: UnitOfWork, account_id: str, *, disabled: bool) -> Account:
    """Lock an account out, or let it in again. Conflict when nobody could administer any more."""
    if disabled:
        _keep_an_admin(uow, account_id)
        store.revoke_sessions_of(uow.connection, account_id, uow.now)
    _known(uow, account_id)
    store.update_account(uow.connection, account_id, {"disabled": disabled}, uow.now)
    return _known(uow, account_id)


def set_password(uow: UnitOfWork, account_id: str, password_hash: str, *, but: str | None = None) -> None:
    """A new password; every session ends, but for that one."""
    _known(uow, account_id)
    store.update_account(uow.connection, account_id, {"password_hash": password_hash}, uow.now)
    store.revoke_sessions_of(uow.connection, account_id, uow.now, but=but)


def _typed(password: str) -> str:
    # The same keys give different code points on different systems (NIST SP 800-63B, section 5.1.1.2).
    return unicodedata.normalize("NFKC", password)


def _keep_an_admin(uow: UnitOfWork, account_id: str) -> None:
    # Before anything else is locked: two administrators who demote each other wait, and do not lock each other out.
    if store.admins(uow.connection) == [account_id]:
        raise Conflict("This is the last administrator; make another one first", problem="last-admin")


def _known(uow: UnitOfWork, account_id: str) -> Account:
    account = store.account(uow.connection, account_id, lock=True)
    if account is None:
        raise NotFound("There is no such account")
    return account
