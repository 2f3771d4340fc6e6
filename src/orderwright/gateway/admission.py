"""Who may pass, and how often: true addresses, rate limits, acceptable requests.

Invariant: an address that a client claims for itself counts for nothing; X-Forwarded-For is read from the right, over
proxies that are known, and what is passed on is what was found out here.
"""

import ipaddress
from dataclasses import dataclass

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.types import Scope

from orderwright.gateway.settings import GatewaySettings
from orderwright.kernel.errors import BusinessError, TooManyRequests

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
ACCEPTABLE = ("*/*", "application/*", "application/json", "application/problem+json", "text/event-stream")


class NotAcceptable(BusinessError):
    status, problem, title = 406, "not-acceptable", "Only JSON is spoken here"


class HeadersTooLarge(BusinessError):
    status, problem, title = 431, "header-fields-too-large", "The headers are too large"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit, for the RateLimit headers (draft-ietf-httpapi-ratelimit-headers)."""

    name: str
    quota: int
    left: int
    reset_s: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """As header fields."""
        return [
            (b"ratelimit-policy", f'"{self.name}";q={self.quota};w=60'.encode()),
            (b"ratelimit", f'"{self.name}";r={self.left};t={self.reset_s}'.encode()),
        ]


class RateLimits:
    """Counts requests of callers and addresses over the last minute."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._limits: dict[str, RateLimitItem] = {
            name: RateLimitItemPerMinute(amount)
            for name, amount in (
                ("caller", settings.caller_per_minute),
                ("address", settings.address_per_minute),
                ("login", settings.login_per_minute),
            )
            if amount
        }

    async def count(self, name: str, who: str) -> Allowance | None:
        """One more request of `who`; None where nothing limits it. TooManyRequests when it is one too many."""
        limit = self._limits.get(name)
        if limit is None:
            return None
        allowed = await self._limiter.hit(limit, name, who)
        window = await self._limiter.get_window_stats(limit, name, who)
        # The window tells when it ends in wall-clock time; a minute is the most that it can be.
        reset_s = 60 if not allowed else max(1, min(60, limit.get_expiry()))
        allowance = Allowance(name, limit.amount, max(0, window.remaining), reset_s)
        if not allowed:
            raise TooManyRequests(
                f"At most {limit.amount} requests a minute are answered for this {name}",
                retry_after_s=max(1, reset_s // 10),
                extra={"policy": name},
            )
        return allowance


def check_request(scope: Scope, headers: Headers) -> None:
    """NotAcceptable, or HeadersTooLarge, for requests that no route could answer."""
    fields = scope["headers"]
    if len(fields) > MAX_HEADERS or sum(len(name) + len(value) for name, value in fields) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them are read")
    accept = headers.get("accept", "*/*")
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    if not any(kind in ACCEPTABLE or not kind for kind in wanted):
        raise NotAcceptable("Accept application/json")


def client_address(scope: Scope, headers: Headers, trusted: frozenset[str]) -> str:
    """The address of whoever sent the request, as far as it can be known."""
    address = scope["client"][0] if scope.get("client") else "127.0.0.1"
    hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    while address in trusted and hops:
        address = hops.pop()
    return address[:64]


def network_of(address: str) -> str:
    """What counts as one address: an IPv6 subscriber has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
