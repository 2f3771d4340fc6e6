"""Who is calling: tokens are verified by every service, with the public keys that identity publishes.

Invariants: one algorithm (ES256), fixed here and never read from the token (RFC 8725, section 3.1); issuer, audience,
type and expiry are always checked; a token is never logged. Roles: `customer` acts on what is their own, `staff` and
`admin` on everything, `service` is one service speaking to another.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jwt
from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers

from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import Forbidden, Unauthenticated

ALGORITHM = "ES256"
ISSUER = "orderwright"
AUDIENCE = "orderwright"
ACCESS_TYPE = "at+jwt"
LEEWAY_S = 30
MAX_TOKEN_LENGTH = 4096
MAX_REMEMBERED = 10_000
REFETCH_AFTER_S = 5.0

CUSTOMER, STAFF, ADMIN, SERVICE = "customer", "staff", "admin", "service"


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified caller."""

    id: str
    roles: frozenset[str]
    expires_at_s: float

    def has(self, *roles: str) -> bool:
        """Whether the caller has any of `roles`."""
        return not self.roles.isdisjoint(roles)

    @property
    def privileged(self) -> bool:
        """Whether the caller may act for anyone."""
        return self.has(STAFF, ADMIN, SERVICE)

    def may_act_for(self, customer_id: str) -> bool:
        """Whether what belongs to that customer is the caller's to see and touch."""
        return self.privileged or self.id == customer_id


KeySource = Callable[[], Awaitable[Mapping[str, Any]]]
"""Fetches identity's JWKS document (RFC 7517)."""


class TokenVerifier:
    """Verifies access tokens; remembers those it has verified until they expire."""

    def __init__(self, fetch_keys: KeySource, clock: Clock) -> None:
        self._fetch_keys = fetch_keys
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at_s = float("-inf")
        self._fetching = asyncio.Lock()
        self._remembered: OrderedDict[bytes, Caller] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """The caller that `token` names. Unauthenticated when it proves nothing; never says which check failed."""
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        now_s = self._clock.now().timestamp()
        known = self._remembered.get(digest)
        if known is None:
            known = await self._verify(token)
            self._remembered[digest] = known
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        if known.expires_at_s + LEEWAY_S <= now_s:
            raise _refusal()
        return known

    async def _verify(self, token: str) -> Caller:
        try:
            if len(token) > MAX_TOKEN_LENGTH:
                raise jwt.InvalidTokenError("too long")
            header = jwt.get_unverified_header(token)
            if header.get("typ") != ACCESS_TYPE or header.get("alg") != ALGORITHM or "crit" in header:
                raise jwt.InvalidTokenError("not an access token")
            key = await self._key(str(header.get("kid")))
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={
                    "require": ["exp", "iat", "sub", "iss", "aud", "jti"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
            return _caller(claims)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError):
            raise _refusal() from None

    async def _key(self, key_id: str) -> jwt.PyJWK:
        if key_id not in self._keys:
            async with self._fetching:
                now_s = self._clock.monotonic_s()
                if key_id not in self._keys and now_s - self._fetched_at_s >= REFETCH_AFTER_S:
                    document = await self._fetch_keys()
                    self._keys = {key["kid"]: jwt.PyJWK(key, algorithm=ALGORITHM) for key in document["keys"]}
                    self._fetched_at_s = now_s
        return self._keys[key_id]


def _caller(claims: Mapping[str, Any]) -> Caller:
    subject, roles, expires = claims["sub"], claims.get("roles"), claims["exp"]
    if not isinstance(subject, str) or not isinstance(roles, list) or isinstance(expires, bool):
        raise jwt.InvalidTokenError("claims of the wrong type")
    return Caller(subject, frozenset(str(role) for role in roles), float(expires))


def _refusal() -> Unauthenticated:
    return Unauthenticated("Send a valid access token: `Authorization: Bearer …` from POST /login")


def bearer_token(headers: Headers) -> str | None:
    """The token that a request shows, if it shows one (RFC 6750, section 2.1)."""
    scheme, token = get_authorization_scheme_param(headers.get("authorization"))
    return token if token and scheme.lower() == "bearer" else None


class _Authenticated(SecurityBase):
    """FastAPI dependency: the verified caller. Unauthenticated without a valid token.

    FastAPI's own `HTTPBearer` would be another dependency before this one, which each request would pay for.
    """

    def __init__(self) -> None:
        self.model = HTTPBearer(bearerFormat="JWT", description="An access token from `POST /login`")
        self.scheme_name = "HTTPBearer"

    async def __call__(self, request: Request) -> Caller:
        token = bearer_token(request.headers)
        if token is None:
            raise _refusal()
        verifier: TokenVerifier = request.app.state.verifier
        return await verifier.verify(token)


AnyCaller = Annotated[Caller, Depends(_Authenticated())]


def requires(*roles: str) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency that lets in only callers with one of `roles`."""

    async def checked(caller: AnyCaller) -> Caller:
        if not caller.has(*roles):
            raise Forbidden(f"This needs one of the roles {', '.join(sorted(roles))}")
        return caller

    return checked


Staff = Annotated[Caller, Depends(requires(STAFF, ADMIN))]
StaffOrService = Annotated[Caller, Depends(requires(STAFF, ADMIN, SERVICE))]
Admin = Annotated[Caller, Depends(requires(ADMIN))]
ServiceOnly = Annotated[Caller, Depends(requires(SERVICE))]
