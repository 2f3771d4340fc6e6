"""Sessions: a refresh token is used once, and one that is used twice ends the session of whoever has it.

Invariant: a refresh token is stored as a digest only. When a token is used a second time either its owner or a thief
has the newer one, and nobody can tell which: the whole session ends (RFC 9700, section 4.14.2).
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta

from orderwright.kernel.errors import Unauthenticated
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.identity import store
from orderwright.services.identity.domain import Account


@dataclass(frozen=True, slots=True)
class Grant:
    """Who is logged in, and the token that renews it."""

    account: Account
    refresh_token: str = field(repr=False)


def begin(uow: UnitOfWork, account: Account, lifetime: timedelta) -> Grant:
    """Somebody has proved who they are."""
    session_id = uow.ids.new()
    store.open_session(uow.connection, session_id, account.id, uow.now, uow.now + lifetime)
    return Grant(account, _next_token(uow, session_id))


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


def _next_token(uow: UnitOfWork, session_id: str) -> str:
    token = uow.ids.secret()
    store.add_refresh_token(uow.connection, digest_of(token), session_id, uow.now)
    return token
