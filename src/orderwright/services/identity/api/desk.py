"""What the identity service's endpoints work with."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request

from orderwright.kernel.manifest import Kit
from orderwright.services.identity import store
from orderwright.services.identity.actions import keys
from orderwright.services.identity.actions.accounts import hasher
from orderwright.services.identity.actions.sessions import Grant
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
            return await asyncio.to_thread(hasher(self.settings).hash, password)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the right one; takes as long when there is nothing to compare it with."""
        async with self._hashing:
            if password_hash is None:
                await asyncio.to_thread(hasher(self.settings).hash, password)
                return False
            return await asyncio.to_thread(hasher(self.settings).verify, password, password_hash)

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
        key = await self._signing_key()
        now, token_id = self.kit.clock.now(), self.kit.ids.new()
        return key.sign(subject, roles, now=now, lifetime=lifetime, token_id=token_id), lifetime

    async def _signing_key(self) -> keys.SigningKey:
        rows = await self.kit.units.read(store.keys)
        if self._key is None or self._key.id != rows[0].id:
            self._key = keys.current(rows, self.settings)
        return self._key


async def _desk(request: Request) -> IdentityDesk:
    desk: IdentityDesk = request.app.state.desk
    return desk


Desk = Annotated[IdentityDesk, Depends(_desk)]
