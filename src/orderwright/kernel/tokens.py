"""The token that a service shows to its peers: fetched from identity, kept until shortly before it expires."""

import asyncio

from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import Unavailable
from orderwright.kernel.peers import Peers

RENEW_BEFORE_S = 60.0


class ServiceTokens:
    """Proves to the other services that this one is a service. The secret never leaves for anybody but identity."""

    def __init__(self, service: str, secret: str, peers: Peers, clock: Clock) -> None:
        self._service = service
        self._secret = secret
        self._peers = peers
        self._clock = clock
        self._token = ""
        self._renew_at_s = float("-inf")
        self._renewing = asyncio.Lock()

    async def get(self) -> str:
        """A token that is valid for a while yet. Unavailable when identity does not answer."""
        if self._clock.monotonic_s() < self._renew_at_s:
            return self._token
        async with self._renewing:
            now_s = self._clock.monotonic_s()
            if now_s >= self._renew_at_s:
                body = {"service": self._service, "secret": self._secret}
                answer = await self._peers.ask(
                    "identity", "POST", "/service-token", json=body, safe=True, anonymous=True
                )
                if answer.status != 200:
                    raise Unavailable("Identity does not accept this service's secret; is it the same everywhere?")
                document = answer.json()
                self._token = document["access_token"]
                self._renew_at_s = now_s + max(1.0, document["expires_in"] - RENEW_BEFORE_S)
        return self._token
