"""Signing keys and access tokens.

Invariants: one key signs at a time; a retired one stays published until everything it signed has expired, so rotation
refuses nobody. The private key never leaves this service.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orderwright.kernel import auth
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.identity import store
from orderwright.services.identity.settings import IdentitySettings


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
    """A new key signs from now on; answers its id."""
    private = ec.generate_private_key(ec.SECP256R1())
    passphrase = settings.key_passphrase
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.get_secret_value().encode())
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()
    key_id = uow.ids.new()
    public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    store.retire_keys(uow.connection, uow.now)
    store.insert_key(
        uow.connection,
        {
            "id": key_id,
            "private_pem": pem,
            "public_jwk": {**public, "kid": key_id, "use": "sig", "alg": auth.ALGORITHM},
            "created_at": uow.now,
        },
    )
    return key_id


def keep_fresh(uow: UnitOfWork, settings: IdentitySettings) -> None:
    """See to it that there is a key, that it is not too old, and that keys nobody needs go away."""
    newest = next(iter(store.keys(uow.connection)), None)
    if (
        newest is None
        or newest.retired_at is not None
        or uow.now - newest.created_at >= timedelta(days=settings.key_days)
    ):
        rotate(uow, settings)
    longest = timedelta(minutes=settings.access_minutes, seconds=2 * auth.LEEWAY_S)
    store.forget_keys(uow.connection, uow.now - longest)


def current(rows: list[Any], settings: IdentitySettings) -> SigningKey:
    """The key that signs now, out of what the store has."""
    row = rows[0]
    passphrase = settings.key_passphrase.get_secret_value().encode() if settings.key_passphrase else None
    private = serialization.load_pem_private_key(row.private_pem.encode(), passphrase)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return SigningKey(row.id, private)


def published(rows: list[Any]) -> dict[str, Any]:
    """What the world may know of the keys (RFC 7517)."""
    return {"keys": [row.public_jwk for row in rows]}
