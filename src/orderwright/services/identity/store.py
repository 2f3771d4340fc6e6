"""The identity service's SQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.rows import insert_ignoring, insert_new, insert_updating, one_of
from orderwright.services.identity.domain import Account
from orderwright.services.identity.tables import accounts, attempts, refresh_tokens, sessions, signing_keys


def insert_account(connection: sa.Connection, account: Account, password_hash: str) -> bool:
    """Add an account; answers whether the address was free."""
    row = {
        "id": account.id,
        "email": account.email,
        "name": account.name,
        "phone": account.phone,
        "password_hash": password_hash,
        "roles": list(account.roles),
        "disabled": account.disabled,
        "created_at": account.created_at,
        "updated_at": account.created_at,
    }
    return bool(insert_new(connection, accounts, [row], ["id"]))


def account(connection: sa.Connection, account_id: str, *, lock: bool = False) -> Account | None:
    """The account of that id."""
    query = sa.select(accounts).where(accounts.c.id == account_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _account(row)


def accounts_of(connection: sa.Connection, ids: Sequence[str]) -> list[Account]:
    """These accounts."""
    return [_account(row) for row in connection.execute(sa.select(accounts).where(one_of(accounts.c.id, ids)))]


def credentials(connection: sa.Connection, email: str, *, lock: bool = False) -> tuple[Account, str] | None:
    """The account with that address, and its password's hash."""
    query = sa.select(accounts).where(accounts.c.email == email)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else (_account(row), row.password_hash)


def listed(connection: sa.Connection, *, text: str | None, after: str | None, limit: int) -> list[Account]:
    """Accounts by id, the oldest first."""
    query = sa.select(accounts).order_by(accounts.c.id).limit(limit)
    if text is not None:
        query = query.where(accounts.c.email.icontains(text, autoescape=True))
    if after is not None:
        query = query.where(accounts.c.id > after)
    return [_account(row) for row in connection.execute(query)]


def update_account(connection: sa.Connection, account_id: str, changes: Mapping[str, Any], now: datetime) -> None:
    """Change an account."""
    statement = sa.update(accounts).where(accounts.c.id == account_id)
    connection.execute(statement.values(**changes, updated_at=now))


def admins(connection: sa.Connection) -> list[str]:
    """Accounts that can administer, locked in the order of their ids."""
    says_admin = sa.cast(accounts.c.roles, sa.Text).contains('"admin"', autoescape=True)
    query = sa.select(accounts.c.id).where(sa.not_(accounts.c.disabled), says_admin).order_by(accounts.c.id)
    return list(connection.execute(query.with_for_update()).scalars())


def open_session(
    connection: sa.Connection, session_id: str, account_id: str, now: datetime, expires_at: datetime
) -> None:
    """Somebody logged in."""
    connection.execute(
        sa.insert(sessions).values(id=session_id, account_id=account_id, created_at=now, expires_at=expires_at)
    )


def add_refresh_token(connection: sa.Connection, digest: str, session_id: str, now: datetime) -> None:
    """The session's next refresh token."""
    connection.execute(sa.insert(refresh_tokens).values(digest=digest, session_id=session_id, created_at=now))


def session_of(connection: sa.Connection, digest: str) -> Any | None:
    """(session id, account, expiry, revocation, when the token was used) of a refresh token, locked."""
    query = (
        sa.select(
            sessions.c.id, sessions.c.account_id, sessions.c.expires_at, sessions.c.revoked_at, refresh_tokens.c.used_at
        )
        .join(sessions, sessions.c.id == refresh_tokens.c.session_id)
        .where(refresh_tokens.c.digest == digest)
        .with_for_update()
    )
    return connection.execute(query).one_or_none()


def use_refresh_token(connection: sa.Connection, digest: str, now: datetime) -> bool:
    """The token is used up; answers whether it was unused until now."""
    statement = sa.update(refresh_tokens).where(refresh_tokens.c.digest == digest, refresh_tokens.c.used_at.is_(None))
    return connection.execute(statement.values(used_at=now)).rowcount == 1


def revoke_session(connection: sa.Connection, session_id: str, now: datetime) -> None:
    """The session is over."""
    statement = sa.update(sessions).where(sessions.c.id == session_id, sessions.c.revoked_at.is_(None))
    connection.execute(statement.values(revoked_at=now))


def revoke_sessions_of(connection: sa.Connection, account_id: str, now: datetime, *, but: str | None = None) -> None:
    """All of somebody's sessions are over, but for that one."""
    statement = sa.update(sessions).where(sessions.c.account_id == account_id, sessions.c.revoked_at.is_(None))
    if but is not None:
        statement = statement.where(sessions.c.id != but)
    connection.execute(statement.values(revoked_at=now))


def forget_sessions(connection: sa.Connection, before: datetime, *, limit: int = 500) -> int:
    """Remove up to `limit` sessions that expired before then; answers how many."""
    query = sa.select(sessions.c.id).where(sessions.c.expires_at < before).limit(limit)
    old = list(connection.execute(query).scalars())
    connection.execute(sa.delete(refresh_tokens).where(refresh_tokens.c.session_id.in_(old)))
    connection.execute(sa.delete(sessions).where(sessions.c.id.in_(old)))
    return len(old)


def keys(connection: sa.Connection) -> list[Any]:
    """Signing keys, the newest first."""
    return list(
        connection.execute(sa.select(signing_keys).order_by(signing_keys.c.created_at.desc(), signing_keys.c.id.desc()))
    )


def insert_key(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    """A new signing key."""
    connection.execute(sa.insert(signing_keys).values(**row))


def retire_keys(connection: sa.Connection, at: datetime) -> None:
    """From then on no key that exists now signs anything new."""
    connection.execute(sa.update(signing_keys).where(signing_keys.c.retired_at.is_(None)).values(retired_at=at))


def forget_keys(connection: sa.Connection, before: datetime) -> None:
    """Remove keys that were retired before then: nothing they signed is valid any more."""
    connection.execute(sa.delete(signing_keys).where(signing_keys.c.retired_at < before))


def begin_counting(connection: sa.Connection, subjects: Sequence[str], now: datetime) -> None:
    """See to it that these subjects have a counter, so that there is something to lock."""
    rows = [{"subject": subject, "failures": 0, "updated_at": now} for subject in sorted(subjects)]
    insert_ignoring(connection, attempts, rows)


def locks(
    connection: sa.Connection, subjects: Sequence[str], *, lock: bool = False
) -> dict[str, tuple[int, datetime | None]]:
    """(failures, locked until) of these subjects."""
    query = sa.select(attempts).where(one_of(attempts.c.subject, subjects)).order_by(attempts.c.subject)
    rows = connection.execute(query.with_for_update() if lock else query)
    return {row.subject: (row.failures, row.locked_until) for row in rows}


def count_failures(
    connection: sa.Connection, counted: Mapping[str, tuple[int, datetime | None]], now: datetime
) -> None:
    """(failures, locked until) of these subjects from now on."""
    rows = [
        {"subject": subject, "failures": failures, "locked_until": until, "updated_at": now}
        for subject, (failures, until) in counted.items()
    ]
    columns = ("failures", "locked_until", "updated_at")
    insert_updating(connection, attempts, rows, ["subject"], columns)


def forgive(connection: sa.Connection, subject: str) -> None:
    """What was wrong before counts no more."""
    connection.execute(sa.delete(attempts).where(attempts.c.subject == subject))


def forget_attempts(connection: sa.Connection, before: datetime, *, limit: int = 1000) -> int:
    """Remove up to `limit` counters that were last touched before then; answers how many."""
    old = sa.select(attempts.c.subject).where(attempts.c.updated_at < before).limit(limit)
    return connection.execute(sa.delete(attempts).where(attempts.c.subject.in_(old))).rowcount


def _account(row: Any) -> Account:
    return Account(row.id, row.email, row.name, row.phone, tuple(row.roles), row.disabled, row.created_at)
