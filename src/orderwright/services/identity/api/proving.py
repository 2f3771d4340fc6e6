"""Register, log in, stay logged in, log out; and the keys with which everybody can check our tokens.

Invariant: an answer tells nothing about which addresses have accounts, save to somebody who tries to register one.
"""

import hmac
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request

from orderwright.kernel.auth import CUSTOMER, SERVICE
from orderwright.kernel.errors import Unauthenticated
from orderwright.kernel.unit import UnitOfWork
from orderwright.kernel.web import ExactRoute
from orderwright.services.identity import store
from orderwright.services.identity.actions import accounts, guessing, keys, sessions
from orderwright.services.identity.api.desk import TOKEN_TYPE, Desk
from orderwright.services.identity.api.schemas import (
    AccountView,
    LoginBody,
    RefreshBody,
    RegisterBody,
    ServiceTokenBody,
    ServiceTokenView,
    TokensView,
    account_view,
    normal_email_or_same,
)
from orderwright.services.identity.domain import Account, check_password

router = APIRouter(route_class=ExactRoute, tags=["identity"])

NOT_PROVED: dict[int | str, dict[str, Any]] = {401: {"description": "Not proved"}}


@router.post("/register", status_code=201, summary="Make an account")
async def register(body: RegisterBody, desk: Desk) -> AccountView:
    check_password(body.password, body.email)
    password_hash = await desk.hash(body.password)
    account = await desk.kit.units.run(
        lambda uow: accounts.create_account(
            uow, body.email, password_hash, [CUSTOMER], name=body.name, phone=body.phone
        )
    )
    return account_view(account)


@router.post("/login", summary="Log in", responses=NOT_PROVED)
async def login(body: LoginBody, desk: Desk, request: Request) -> TokensView:
    email, address = normal_email_or_same(body.email), client_address(request)
    await desk.kit.units.run(lambda uow: guessing.check(uow, email, address))
    known = await desk.kit.units.read(lambda connection: store.credentials(connection, email))
    right = await desk.matches(body.password, known[1] if known else None)
    if known is None or not right or known[0].disabled:
        await desk.kit.units.run(lambda uow: guessing.failed(uow, email, address, desk.settings))
        raise Unauthenticated("The e-mail address or the password is wrong", problem="invalid-credentials")
    account, lifetime = known[0], timedelta(days=desk.settings.refresh_days)
    return await desk.tokens(await desk.kit.units.run(lambda uow: _begin(uow, email, account, lifetime)))


@router.post("/refresh", summary="Stay logged in", responses=NOT_PROVED)
async def refresh(body: RefreshBody, desk: Desk) -> TokensView:
    """A refresh token can be used once; the answer holds the next one."""
    grant = await desk.kit.units.run(lambda uow: sessions.refresh(uow, body.refresh_token))
    if grant is None:
        raise sessions.refused()
    return await desk.tokens(grant)


@router.post("/logout", status_code=204, summary="Log out")
async def logout(body: RefreshBody, desk: Desk) -> None:
    """The session ends; an access token that was given out stays valid for its few minutes."""
    await desk.kit.units.run(lambda uow: sessions.end(uow, body.refresh_token))


@router.get("/.well-known/jwks.json", summary="The public keys (RFC 7517)")
async def jwks(desk: Desk) -> dict[str, Any]:
    return keys.published(await desk.kit.units.read(store.keys))


@router.post("/service-token", summary="A service proves that it is one", tags=["services"], responses=NOT_PROVED)
async def service_token(body: ServiceTokenBody, desk: Desk) -> ServiceTokenView:
    secret = desk.kit.platform.service_secret
    if secret is None or not hmac.compare_digest(secret.get_secret_value().encode(), body.secret.encode()):
        raise Unauthenticated("This is not the services' secret", problem="invalid-credentials")
    access, lifetime = await desk.sign(f"service:{body.service}", [SERVICE])
    return ServiceTokenView(access_token=access, token_type=TOKEN_TYPE, expires_in=int(lifetime.total_seconds()))


def client_address(request: Request) -> str:
    """Whose address counts. Only a peer on this machine, the gateway, is believed about somebody else's."""
    peer = request.client.host if request.client else "127.0.0.1"
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded[:64] if forwarded and peer in {"127.0.0.1", "::1"} else peer


def _begin(uow: UnitOfWork, email: str, account: Account, lifetime: timedelta) -> sessions.Grant:
    guessing.succeeded(uow, email)
    return sessions.begin(uow, account, lifetime)
