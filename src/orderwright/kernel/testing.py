"""A bench for one service: the real code on a real database, with time, ids, the broker and the peers in hand.

    async with ServiceBench.open(manifest.assemble, "catalog", tmp_path) as bench:
        answer = await bench.request("POST", "/products", {"id": "p-1", …}, roles=("staff",))
        await bench.hear(StockUpdated(product_id="p-1", quantity=7))
        assert bench.take_said() == [ProductCreated(…)]

Messages in, state and messages out: nothing of ours is replaced, only the world around it.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jwt
import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from starlette.types import ASGIApp

from orderwright.kernel import auth
from orderwright.kernel.broker import Delivery
from orderwright.kernel.brokers.memory import MemoryBroker
from orderwright.kernel.clock import Clock, FrozenClock
from orderwright.kernel.database import open_database
from orderwright.kernel.ids import Ids, SeededIds
from orderwright.kernel.manifest import Manifest
from orderwright.kernel.messages import Decoders, Event, Message, encode
from orderwright.kernel.peers import Peers, request_once
from orderwright.kernel.runtime import Runtime
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import Metrics
from orderwright.kernel.unit import UnitOfWork

T = TypeVar("T")

DEFAULT_CALLER = "customer-1"


@dataclass(frozen=True, slots=True)
class BenchAnswer:
    """An HTTP answer, read."""

    status: int
    json: Any
    headers: Mapping[str, str]


class TestKeys:
    """A signing key and the identity service that would publish it."""

    __test__ = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._private = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._private.public_key(), as_dict=True)
        self.document = {"keys": [{**public, "kid": "bench", "use": "sig", "alg": auth.ALGORITHM}]}
        self.identity = FastAPI()
        self.identity.add_api_route("/.well-known/jwks.json", lambda: self.document)

    def token(self, caller: str, roles: Sequence[str], *, valid_s: int = 900) -> str:
        """An access token as identity would make it."""
        now_s = int(self._clock.now().timestamp())
        claims = {
            "sub": caller,
            "roles": list(roles),
            "iss": auth.ISSUER,
            "aud": auth.AUDIENCE,
            "iat": now_s,
            "exp": now_s + valid_s,
            "jti": f"{caller}-{now_s}",
        }
        headers = {"kid": "bench", "typ": auth.ACCESS_TYPE}
        return jwt.encode(claims, self._private, algorithm=auth.ALGORITHM, headers=headers)


class ServiceBench:
    """One service on the bench. Open it with `ServiceBench.open`."""

    def __init__(self, runtime: Runtime, clock: FrozenClock, ids: Ids, keys: TestKeys) -> None:
        self.runtime = runtime
        self.clock = clock
        self.ids = ids
        self.keys = keys
        self._said: list[Message] = []
        self._decoders = Decoders({kind.topic: kind for kind in runtime.service.emits})
        runtime.units.after_commit.append(lambda uow: self._said.extend(uow.said))

    @classmethod
    @asynccontextmanager
    async def open(
        cls, manifest: Manifest, name: str, folder: Path, *, peers: Mapping[str, ASGIApp] | None = None, seed: int = 0
    ) -> AsyncIterator["ServiceBench"]:
        """The service, migrated, with no background loop running: jobs and messages come when the test says so."""
        clock, ids = FrozenClock(), SeededIds(seed)
        keys = TestKeys(clock)
        apps: dict[str, ASGIApp] = {"identity": keys.identity, **(peers or {})}
        locator = Peers(lambda peer: apps[peer], clock, ids)

        async def service_token() -> str:
            return keys.token(name, [auth.SERVICE])

        locator.service_token = service_token
        platform = PlatformSettings(data_dir=folder)
        async with MemoryBroker() as broker:
            runtime = Runtime(
                manifest,
                name,
                database=open_database(platform.effective_database_url, name),
                broker=broker,
                peers=locator,
                platform=platform,
                clock=clock,
                ids=ids,
                metrics=Metrics(),
            )
            apps.setdefault(name, runtime.app)
            try:
                await runtime.migrate()
                await runtime.join()
                for hook in runtime.service.on_start:
                    await hook()
                yield cls(runtime, clock, ids, keys)
            finally:
                await runtime.stop()

    async def hear(self, *events: Event, traceparent: str | None = None) -> list[Message]:
        """Have the service hear `events` as one batch; answers the messages, to be heard again with `hear_again`."""
        messages = [
            encode(event, id=self.ids.new(), source="/bench", time=self.clock.now(), traceparent=traceparent)
            for event in events
        ]
        await self.hear_again(*messages)
        return messages

    async def hear_again(self, *messages: Message) -> None:
        """Deliver messages, perhaps once more."""
        await self.runtime.consumer.hear(
            [Delivery(message.topic, message.key, message.headers(), message.body, None) for message in messages]
        )

    def take_said(self) -> list[Event]:
        """What the service has said since this was last asked."""
        said, self._said = self._said, []
        return [self._decoders.decode(message) for message in said]

    async def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        query: str = "",
        caller: str = DEFAULT_CALLER,
        roles: Sequence[str] = (auth.CUSTOMER,),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> BenchAnswer:
        """Send a request with a token for `caller`; with no roles, without a token."""
        sent = {"content-type": "application/json", **(headers or {})}
        if roles:
            sent["authorization"] = f"Bearer {self.keys.token(caller, roles)}"
        payload = body if body is not None else (b"" if json is None else msgspec.json.encode(json, enc_hook=str))
        received: dict[str, str] = {}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def noting(message: Any) -> None:
                received.update({k.decode(): v.decode() for k, v in message.get("headers", ())})
                await send(message)

            await self.runtime.app(scope, receive, noting)

        answer = await request_once(app, method, path, query=query, headers=sent, body=payload)
        document = msgspec.json.decode(answer.body) if answer.body else None
        return BenchAnswer(answer.status, document, received)

    async def run_job(self, name: str) -> bool:
        """Run one of the service's jobs once."""
        job = next(job for job in self.runtime.service.jobs if job.name == name)
        return await job.run()

    async def retry_kept(self) -> bool:
        """Try messages again whose time has come."""
        return await self.runtime.consumer.retries.run_due()

    async def do(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run an action in a unit of work."""
        return await self.runtime.units.run(work)

    async def rows(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        """What the database holds."""
        return await self.runtime.database.read(
            lambda connection: [dict(row) for row in connection.execute(statement).mappings()]
        )
