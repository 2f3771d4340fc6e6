"""Sessions: begun with a password, renewed with refresh tokens, each of which can be used once.

Invariant: a refresh token is stored as a digest only. When a token is used a second time either its owner or a thief
has the newer one, and nobody can tell which: the whole session ends (RFC 9700, section 4.14.2).
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta

from orderwright.kernel.errors import Unauthenticated
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.identity import store
from orderwright.services.identity.actions import accounts, guessing
from orderwright.services.identity.domain import Account
from orderwright.services.identity.settings import IdentitySettings


@dataclass(frozen=True, slots=True)
class Proof:
    """A password that was given for an account, compared with the hash that the account had at that time.

    Comparing takes long and happens before the transaction, which therefore looks whether the hash is still that one.
    """

    email: str
    address: str
    compared_with: str | None = field(repr=False)
    right: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """Who is logged in, and the token that renews it."""

    account: Account
    refresh_token: str = field(repr=False)


def log_in(uow: UnitOfWork, proof: Proof, settings: IdentitySettings) -> Grant | None:
    """A session for somebody who knows the password; None for anybody else, and then too the caller commits.

    TooManyRequests while too many have guessed.
    """
    account = _proved(uow, proof, settings)
    if account is None:
        return None
    session_id = uow.ids.new()
    ends_at = uow.now + timedelta(days=settings.refresh_days)
    store.open_session(uow.connection, session_id, account.id, uow.now, ends_at)
    return Grant(account, _next_token(uow, session_id))


def change_password(
    uow: UnitOfWork, proof: Proof, new_hash: str, settings: IdentitySettings, *, refresh_token: str | None
) -> bool:
    """Another password for somebody who knows the old one; False for anybody else, and then too the caller commits.

    Every session ends, but for the one of `refresh_token`. TooManyRequests while too many have guessed.
    """
    account = _proved(uow, proof, settings)
    if account is None:
        return False
    kept = store.session_of(uow.connection, digest_of(refresh_token)) if refresh_token else None
    accounts.set_password(uow, account.id, new_hash, but=kept.id if kept else None)
    return True


def refresh(uow: UnitOfWork, token: str) -> Grant | None:
    """Renew a session; None when the token proves nothing, and then too the caller commits: a reuse ends it."""
    digest = digest_of(token)
    session = store.session_of(uow.connection, digest)
    if session is None:
        return None
    if session.used_at is not None:
        store.revoke_session(uow.connection, session.id, uow.now)
        return None
    account = store.account(uow.connection, session.account_id)
    over = session.revoked_at is not None or session.expires_at <= uow.now
    if over or account is None or account.disabled or not store.use_refresh_token(uow.connection, digest, uow.now):
        return None
    return Grant(account, _next_token(uow, session.id))


def end(uow: UnitOfWork, token: str) -> None:
    """Log out; an unknown token is as good as logged out."""
    session = store.session_of(uow.connection, digest_of(token))
    if session is not None:
        store.revoke_session(uow.connection, session.id, uow.now)


def digest_of(token: str) -> str:
    """What is stored of a refresh token."""
    return hashlib.sha256(token.encode()).hexdigest()


def refused() -> Unauthenticated:
    """The one answer to every refresh that fails."""
    return Unauthenticated("Log in again: this refresh token is not valid", problem="invalid-refresh-token")


def _proved(uow: UnitOfWork, proof: Proof, settings: IdentitySettings) -> Account | None:
    known = store.credentials(uow.connection, proof.email, lock=True)
    right = proof.right and known is not None and known[1] == proof.compared_with and not known[0].disabled
    attempt = guessing.of_account(proof.email, proof.address, settings)
    return known[0] if guessing.judge(uow, attempt, settings, right=right) and known else None


def _next_token(uow: UnitOfWork, session_id: str) -> str:
    token = uow.ids.secret()
    store.add_refresh_token(uow.connection, digest_of(token), session_id, uow.now)
    return token
