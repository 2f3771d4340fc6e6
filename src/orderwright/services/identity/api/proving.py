"""Register, log in, stay logged in, log out; and the keys with which everybody can check our tokens.

Invariant: an answer tells nothing about which addresses have accounts, save to somebody who tries to register one.
"""

import hmac
from typing import Any

from fastapi import APIRouter, Request

from orderwright.kernel.auth import CUSTOMER, SERVICE
from orderwright.kernel.errors import Unauthenticated
from orderwright.kernel.web import ExactRoute
from orderwright.services.identity import store
from orderwright.services.identity.actions import accounts, guessing, keys, sessions
from orderwright.services.identity.api.desk import TOKEN_TYPE, Desk, client_address
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
from orderwright.services.identity.domain import check_password

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
    proof = await desk.compare(normal_email_or_same(body.email), client_address(request, desk.settings), body.password)
    grant = await desk.kit.units.run(lambda uow: sessions.log_in(uow, proof, desk.settings))
    if grant is None:
        raise Unauthenticated("The e-mail address or the password is wrong", problem="invalid-credentials")
    return await desk.tokens(grant)


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
    return keys.published(await desk.kit.units.glance(store.keys))


@router.post("/service-token", summary="A service proves that it is one", tags=["services"], responses=NOT_PROVED)
async def service_token(body: ServiceTokenBody, desk: Desk, request: Request) -> ServiceTokenView:
    secret = desk.kit.platform.service_secret
    right = secret is not None and hmac.compare_digest(secret.get_secret_value().encode(), body.secret.encode())
    attempt = guessing.of_service(client_address(request, desk.settings), desk.settings)
    if not await desk.kit.units.run(lambda uow: guessing.judge(uow, attempt, desk.settings, right=right)):
        raise Unauthenticated("This is not the services' secret", problem="invalid-credentials")
    access, lifetime = await desk.sign(f"service:{body.service}", [SERVICE])
    return ServiceTokenView(access_token=access, token_type=TOKEN_TYPE, expires_in=int(lifetime.total_seconds()))
