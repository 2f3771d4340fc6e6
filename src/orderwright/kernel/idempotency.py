"""Idempotency-Key: a request that is sent twice acts once (draft-ietf-httpapi-idempotency-key-header-07).

Invariants: the key is claimed in the transaction that does the work, so a key without its work, or work without its
key, cannot exist. Keys belong to a caller and live 30 days. A crash between the work and the answer is resumed: the
claim remembers what the work came to. A request that was refused leaves no claim, because nothing began.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from orderwright.kernel.databases.optimistic import OptimisticConnection
from orderwright.kernel.errors import BusinessError, Conflict, Invalid
from orderwright.kernel.rows import among, insert_exactly, insert_new, update
from orderwright.kernel.tables import idempotency_keys
from orderwright.kernel.unit import UnitOfWork

KEEP_FOR = timedelta(days=30)
LEASE = timedelta(seconds=15)
"""How long a first request may run before another one with its key may take over; longer than any request's timeout."""
SECRET_MEMBERS = frozenset({"card_number", "cvv", "password", "refresh_token"})


@dataclass(frozen=True, slots=True)
class Claim:
    """A caller's wish to have this request done once."""

    caller: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored answer."""

    status: int
    body: bytes
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nobody has sent this before: do it."""


@dataclass(frozen=True, slots=True)
class Resume:
    """It was done, but its answer was never stored: go on from `result`."""

    result: Any


Verdict = Fresh | Resume | Answer | BusinessError


def fingerprint(method: str, path: str, body: Any) -> str:
    """What makes two requests the same; secrets are left out, so no hash of a card number is ever stored."""
    canonical = msgspec.json.encode([method, path, _without_secrets(body)], order="deterministic")
    return hashlib.sha256(canonical).hexdigest()


def claim(uow: UnitOfWork, claims: Sequence[Claim]) -> list[Verdict]:
    """Claim each key in this transaction; one verdict a claim, in their order."""
    rows = [_row(claim, uow.now) for claim in {(c.caller, c.key): c for c in reversed(claims)}.values()]
    fresh = {(row.caller, row.key) for row in insert_new(uow.connection, idempotency_keys, rows, ["caller", "key"])}
    verdicts: list[Verdict] = []
    for wanted in claims:
        if (wanted.caller, wanted.key) in fresh:
            fresh.remove((wanted.caller, wanted.key))
            verdicts.append(Fresh())
        else:
            verdicts.append(_verdict_on_known(uow, wanted))
    return verdicts


def claim_done(uow: UnitOfWork, connection: OptimisticConnection, results: Sequence[tuple[Claim, Any]]) -> None:
    """Claim keys together with what their work came to. NeedsLocks at the end when one of them was claimed before."""
    rows = [{**_row(claim, uow.now), "result": result} for claim, result in results]
    insert_exactly(connection, idempotency_keys, rows)


def remember(uow: UnitOfWork, results: Sequence[tuple[Claim, Any]]) -> None:
    """What the work of each claim came to, kept until the answer is known."""
    _note(uow.connection, [({"result": result}, claim) for claim, result in results])


def withdraw(uow: UnitOfWork, claim: Claim) -> None:
    """The request was refused and nothing began: its key is free again."""
    keys = idempotency_keys
    uow.connection.execute(sa.delete(keys).where(keys.c.caller == claim.caller, keys.c.key == claim.key))


def store(connection: sa.Connection, answers: Sequence[tuple[Claim, Answer]]) -> None:
    """The answers that every repetition gets from now on, where there is none yet."""
    notes = [({"status": a.status, "media_type": a.media_type, "body": a.body}, claim) for claim, a in answers]
    _note(connection, notes, only=f"{idempotency_keys.name}.status IS NULL")


def stored(connection: sa.Connection, answers: Sequence[tuple[Claim, Answer]]) -> list[Answer]:
    """Store these answers; what each claim is answered with from now on, which is what was stored first."""
    store(connection, answers)
    wanted = {"callers": [claim.caller for claim, _ in answers], "keys": [claim.key for claim, _ in answers]}
    found = {(row.caller, row.key): _answer(row) for row in connection.execute(_STORED, wanted)}
    return [found.get((claim.caller, claim.key), answer) for claim, answer in answers]


def release(connection: sa.Connection, now: datetime) -> None:
    """No request is running: right when this process is the only one that could run one, at its start."""
    keys = idempotency_keys
    connection.execute(sa.update(keys).where(keys.c.status.is_(None)).values(lease_until=now))


def forget(connection: sa.Connection, now: datetime, *, limit: int = 1000) -> int:
    """Remove up to `limit` keys that are past their time; answers how many."""
    keys = idempotency_keys
    old = sa.select(keys.c.caller, keys.c.key).where(keys.c.created_at < now - KEEP_FOR).limit(limit)
    return connection.execute(sa.delete(keys).where(sa.tuple_(keys.c.caller, keys.c.key).in_(old))).rowcount


_KNOWN = (
    sa.select(idempotency_keys)
    .where(
        idempotency_keys.c.caller == sa.bindparam("caller"),
        idempotency_keys.c.key == sa.bindparam("key"),
    )
    .with_for_update()
)


_STORED = sa.select(idempotency_keys).where(
    among(idempotency_keys.c.caller, "callers"), among(idempotency_keys.c.key, "keys")
)


def _verdict_on_known(uow: UnitOfWork, wanted: Claim) -> Verdict:
    row = uow.connection.execute(_KNOWN, {"caller": wanted.caller, "key": wanted.key}).one()
    if row.fingerprint != wanted.fingerprint:
        return Invalid(
            "This Idempotency-Key was used for a different request; use a new key for a new request",
            problem="idempotency-key-reused",
        )
    if row.status is not None:
        return _answer(row)
    if row.lease_until > uow.now:
        return Conflict(
            "The first request with this Idempotency-Key is still running; try again shortly",
            problem="request-in-progress",
            retry_after_s=1,
        )
    uow.connection.execute(_update(wanted).values(lease_until=uow.now + LEASE))
    return Resume(row.result)


def _row(claim: Claim, now: datetime) -> dict[str, Any]:
    return {
        "caller": claim.caller,
        "key": claim.key,
        "fingerprint": claim.fingerprint,
        "lease_until": now + LEASE,
        "created_at": now,
    }


def _answer(row: Any) -> Answer:
    return Answer(row.status, row.body, row.media_type)


def _note(connection: sa.Connection, notes: Sequence[tuple[dict[str, Any], Claim]], only: str = "true") -> None:
    update(
        connection,
        idempotency_keys,
        [{"caller": claim.caller, "key": claim.key, **note} for note, claim in notes],
        ["key", "caller"],
        only,
    )


def _update(claim: Claim) -> sa.Update:
    keys = idempotency_keys
    return sa.update(keys).where(keys.c.caller == claim.caller, keys.c.key == claim.key)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _hint(item) if name in SECRET_MEMBERS else _without_secrets(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value


def _hint(secret: Any) -> str:
    # Two cards with the same last four digits count as one; a stored hash of the number could be guessed.
    return f"…{secret[-4:]}" if isinstance(secret, str) and len(secret) > 8 else "…"
