"""The only source of identifiers and randomness.

Invariant: new ids are UUIDs of version 7 (RFC 9562), so they sort by the time they were made; an id that must be the
same whenever the same message is handled is derived, never drawn.
"""

import random
import secrets
import uuid
from typing import Protocol

import uuid_utils

NAMESPACE = uuid.UUID("7d7a2f0e-6f4e-5d0b-9a53-0d3f5f6c7b11")


class Ids(Protocol):
    """Ids and randomness as the code sees them."""

    def new(self) -> str:
        """A fresh UUIDv7 as lower-case text."""

    def secret(self, n_bytes: int = 32) -> str:
        """An unguessable URL-safe text."""

    def jitter(self) -> float:
        """A number in [0, 1) to spread retries with."""


class SystemIds:
    """Ids from the machine's clock and entropy."""

    def new(self) -> str:
        return str(uuid_utils.uuid7())

    def secret(self, n_bytes: int = 32) -> str:
        return secrets.token_urlsafe(n_bytes)

    def jitter(self) -> float:
        return random.random()  # noqa: S311 - spreads retries, guards nothing


class SeededIds:
    """Ids drawn from a seed: the same seed gives the same ids, in the same order. For tests and simulations."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._count = 0

    def new(self) -> str:
        self._count += 1
        return version_7(0x019B_0000_0000 + self._count, self._random.getrandbits(62))

    def secret(self, n_bytes: int = 32) -> str:
        return self._random.randbytes(n_bytes).hex()

    def jitter(self) -> float:
        return self._random.random()


def version_7(unix_ms: int, low: int = 0) -> str:
    """The UUIDv7 of that millisecond with these last 62 bits; without them no id of it, or of a later one, is lower."""
    return str(uuid.UUID(int=unix_ms << 80 | 0x7000 << 64 | 1 << 63 | low))


def derived(*parts: str) -> str:
    """The id that always belongs to these parts: a name-based UUID (RFC 9562, version 5)."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(parts)))


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical lower-case form; nothing else can be an id of ours."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
