"""Signing keys and access tokens.

Invariants: one key signs at a time. A new one is published a while before it signs, and a retired one until everything
it signed has expired, so rotation refuses nobody. The private key never leaves this service.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orderwright.kernel import auth
from orderwright.kernel.errors import ConfigurationError, Invalid
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.identity import store
from orderwright.services.identity.domain import ROLES
from orderwright.services.identity.settings import IdentitySettings

PUBLISHED_AHEAD = timedelta(seconds=2 * auth.REFETCH_AFTER_S)
"""Who verifies asks for the keys again when it meets an unknown one, but not twice within REFETCH_AFTER_S."""
LONGEST_INTEGRATION = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that signs now."""

    id: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, subject: str, roles: list[str], *, now: datetime, lifetime: timedelta, token_id: str) -> str:
        """An access token (RFC 9068)."""
        claims = {
            "sub": subject,
            "roles": roles,
            "iss": auth.ISSUER,
            "aud": auth.AUDIENCE,
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
            "jti": token_id,
        }
        headers = {"kid": self.id, "typ": auth.ACCESS_TYPE}
        return jwt.encode(claims, self.private, algorithm=auth.ALGORITHM, headers=headers)


def rotate(uow: UnitOfWork, settings: IdentitySettings) -> str:
    """A new key is published now and signs shortly; answers its id."""
    private = ec.generate_private_key(ec.SECP256R1())
    passphrase = _passphrase(settings)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()
    store.retire_keys(uow.connection, uow.now + PUBLISHED_AHEAD)
    return _publish(uow, private, pem, retired_at=None)


def issue(uow: UnitOfWork, subject: str, roles: Sequence[str], lifetime: timedelta) -> str:
    """An access token for an integration, which cannot log in. Invalid when nobody may have such a one.

    It has a key of its own, whose private half is forgotten at once: it stays published for as long as this one token
    is valid, however often the others rotate, and removing it ends this one token.
    """
    if not timedelta() < lifetime <= LONGEST_INTEGRATION:
        raise Invalid(f"A token can be valid for up to {LONGEST_INTEGRATION.days} days", problem="invalid-lifetime")
    unknown = set(roles) - ROLES - {auth.SERVICE}
    if unknown or not roles:
        raise Invalid(f"Roles are among {', '.join(sorted(ROLES | {auth.SERVICE}))}", problem="unknown-role")
    private = ec.generate_private_key(ec.SECP256R1())
    key = SigningKey(_publish(uow, private, "", retired_at=uow.now + lifetime), private)
    return key.sign(subject, sorted(set(roles)), now=uow.now, lifetime=lifetime, token_id=uow.ids.new())


def keep_fresh(uow: UnitOfWork, settings: IdentitySettings) -> None:
    """See to it that there is a key, that it is not too old, and that keys nobody needs go away."""
    newest = next((row for row in store.keys(uow.connection) if row.retired_at is None), None)
    if (
        newest is None
        or uow.now - newest.created_at >= timedelta(days=settings.key_days)
        or (settings.key_passphrase is not None and not _is_encrypted(newest))
    ):
        rotate(uow, settings)
    longest = timedelta(minutes=settings.access_minutes, seconds=2 * auth.LEEWAY_S)
    store.forget_keys(uow.connection, uow.now - longest)


def signing(rows: Sequence[Any], now: datetime) -> Any:
    """Which of the keys, the newest first, signs now: the newest that everybody can know, or else the first of all."""
    able = [row for row in rows if row.private_pem]
    return next((row for row in able if row.created_at + PUBLISHED_AHEAD <= now), able[-1])


def opened(row: Any, settings: IdentitySettings) -> SigningKey:
    """A key of the store, ready to sign. ConfigurationError when the passphrase does not open it."""
    try:
        passphrase = _passphrase(settings) if _is_encrypted(row) else None
        private = serialization.load_pem_private_key(row.private_pem.encode(), passphrase)
    except (ValueError, TypeError):
        raise ConfigurationError(
            "ORDERWRIGHT_IDENTITY_KEY_PASSPHRASE does not open the signing key; set the one that it was made with, "
            "or give up the key with `orderwright users rotate-keys` and start again ten seconds later"
        ) from None
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return SigningKey(row.id, private)


def published(rows: Sequence[Any]) -> dict[str, Any]:
    """What the world may know of the keys (RFC 7517)."""
    return {"keys": [row.public_jwk for row in rows]}


def _publish(uow: UnitOfWork, private: ec.EllipticCurvePrivateKey, pem: str, *, retired_at: datetime | None) -> str:
    key_id = uow.ids.new()
    public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    row = {
        "id": key_id,
        "private_pem": pem,
        "public_jwk": {**public, "kid": key_id, "use": "sig", "alg": auth.ALGORITHM},
        "created_at": uow.now,
        "retired_at": retired_at,
    }
    store.insert_key(uow.connection, row)
    return key_id


def _passphrase(settings: IdentitySettings) -> bytes | None:
    return settings.key_passphrase.get_secret_value().encode() if settings.key_passphrase else None


def _is_encrypted(row: Any) -> bool:
    return "ENCRYPTED" in row.private_pem.partition("\n")[0]
