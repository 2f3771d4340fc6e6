"""Identity on the bench with its own keys: what it signs, it has to verify; and people who use it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from orderwright.kernel.testing import BenchAnswer, ServiceBench
from orderwright.services.identity.actions import accounts
from orderwright.services.identity.manifest import assemble
from orderwright.services.identity.settings import IdentitySettings

ADA = {"email": "ada@example.com", "password": "a long enough one"}


class Identity:
    """The service, and what people send to it."""

    def __init__(self, bench: ServiceBench) -> None:
        self.bench = bench

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        address: str | None = None,
        query: str = "",
    ) -> BenchAnswer:
        """A request with a token of identity's own, or none; from an address that the gateway tells of."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if address is not None:
            headers["x-forwarded-for"] = address
        return await self.bench.request(method, path, body, roles=(), headers=headers, query=query)

    async def register(self, **other: str) -> str:
        """Ada, or somebody else; answers the id."""
        answer = await self.send("POST", "/register", {**ADA, **other})
        assert answer.status == 201, answer.json
        account_id: str = answer.json["id"]
        return account_id

    async def log_in(self, **other: str) -> Any:
        """Tokens."""
        answer = await self.send("POST", "/login", {**ADA, **other})
        assert answer.status == 200, answer.json
        return answer.json

    async def token_for(self, *roles: str, email: str = "boss@example.com") -> str:
        """An access token of a new account with those roles."""
        password_hash = accounts.hash_password(ADA["password"], IdentitySettings())
        await self.bench.do(lambda uow: accounts.create_account(uow, email, password_hash, roles))
        token: str = (await self.log_in(email=email))["access_token"]
        return token

    async def refresh(self, token: str) -> BenchAnswer:
        """Renew a session."""
        return await self.send("POST", "/refresh", {"refresh_token": token})

    async def works(self, access_token: str) -> bool:
        """Whether an access token lets its owner in."""
        return (await self.send("GET", "/me", token=access_token)).status == 200


@asynccontextmanager
async def open_identity(folder: Path, *, seed: int = 0) -> AsyncIterator[Identity]:
    """Identity, which asks itself for its keys as every other service does; after a restart with another seed."""

    async def itself(scope: Scope, receive: Receive, send: Send) -> None:
        await bench.runtime.app(scope, receive, send)

    async with ServiceBench.open(assemble, "identity", folder, peers={"identity": itself}, seed=seed) as bench:
        yield Identity(bench)
