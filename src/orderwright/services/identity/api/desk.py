"""What the identity service's endpoints work with."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Request

from orderwright.kernel.addresses import LOOPBACK, is_within, network_of, read_address
from orderwright.kernel.manifest import Kit
from orderwright.services.identity import store
from orderwright.services.identity.actions import guessing, keys
from orderwright.services.identity.actions.accounts import hash_password, verify_password
from orderwright.services.identity.actions.sessions import Grant, Proof
from orderwright.services.identity.api.schemas import TokensView
from orderwright.services.identity.settings import IdentitySettings

TOKEN_TYPE = "Bearer"  # noqa: S105 - a kind of token (RFC 6750), not one
HASHES_AT_ONCE = 2
"""Each takes a fifth of a second of a core and some 20 MiB; more of them at once would only push requests aside."""


@dataclass(slots=True)
class IdentityDesk:
    """The tools of the endpoints."""

    kit: Kit
    settings: IdentitySettings
    _hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HASHES_AT_ONCE))
    _key: keys.SigningKey | None = None

    async def hash(self, password: str) -> str:
        """What is stored of a password."""
        async with self._hashing:
            return await asyncio.to_thread(hash_password, password, self.settings)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the right one; takes as long when there is nothing to compare it with."""
        async with self._hashing:
            return await asyncio.to_thread(verify_password, password, password_hash, self.settings)

    async def compare(self, email: str, address: str, password: str) -> Proof:
        """Compare a password with the account's. TooManyRequests while too many have guessed."""
        attempt = guessing.of_account(email, address, self.settings)
        known = await self.kit.units.read(lambda connection: self._known(connection, attempt, email))
        return Proof(email, address, known, await self.matches(password, known))

    def _known(self, connection: sa.Connection, attempt: guessing.Attempt, email: str) -> str | None:
        guessing.check(connection, attempt, self.kit.clock.now())
        known = store.credentials(connection, email)
        return known[1] if known else None

    async def tokens(self, grant: Grant) -> TokensView:
        """Tokens for somebody who is logged in."""
        access, lifetime = await self.sign(grant.account.id, list(grant.account.roles))
        return TokensView(
            access_token=access,
            refresh_token=grant.refresh_token,
            token_type=TOKEN_TYPE,
            expires_in=int(lifetime.total_seconds()),
        )

    async def sign(self, subject: str, roles: list[str]) -> tuple[str, timedelta]:
        """An access token, and how long it lasts."""
        lifetime = timedelta(minutes=self.settings.access_minutes)
        key = await self.signing_key()
        now, token_id = self.kit.clock.now(), self.kit.ids.new()
        return key.sign(subject, roles, now=now, lifetime=lifetime, token_id=token_id), lifetime

    async def signing_key(self) -> keys.SigningKey:
        """The key that signs now. ConfigurationError when it cannot be opened."""
        row = keys.signing(await self.kit.units.glance(store.keys), self.kit.clock.now())
        if self._key is None or self._key.id != row.id:
            self._key = keys.opened(row, self.settings)
        return self._key


def client_address(request: Request, settings: IdentitySettings) -> str:
    """Whose address counts. Only a peer in the gateways' networks is believed about somebody else's.

    The gateway puts what it found out to the right of whatever a client claims.
    """
    peer = (read_address(request.client.host) if request.client else None) or LOOPBACK
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2]
    told = read_address(forwarded) if is_within(peer, settings.trusted_gateways) else None
    return network_of(told or peer)


async def _desk(request: Request) -> IdentityDesk:
    desk: IdentityDesk = request.app.state.desk
    return desk


Desk = Annotated[IdentityDesk, Depends(_desk)]
