"""One's own account."""

from fastapi import APIRouter, Request

from orderwright.kernel.auth import AnyCaller
from orderwright.kernel.errors import Forbidden, NotFound
from orderwright.kernel.web import ExactRoute, View
from orderwright.services.identity import store
from orderwright.services.identity.actions import sessions
from orderwright.services.identity.api.desk import Desk, client_address
from orderwright.services.identity.api.schemas import PasswordBody
from orderwright.services.identity.domain import check_password

router = APIRouter(route_class=ExactRoute, tags=["identity"])


class MeView(View):
    id: str
    email: str | None
    roles: list[str]
    name: str | None


@router.get("/me", summary="Who the token says that you are")
async def me(caller: AnyCaller, desk: Desk) -> MeView:
    account = await desk.kit.units.glance(lambda connection: store.account(connection, caller.id))
    return MeView(
        id=caller.id,
        email=account.email if account else None,
        roles=sorted(caller.roles),
        name=account.name if account else None,
    )


@router.put("/me/password", status_code=204, summary="Change your password")
async def change_password(body: PasswordBody, caller: AnyCaller, desk: Desk, request: Request) -> None:
    """Every session ends, but for the one whose refresh token is sent along. Wrong guesses count as at a log-in."""
    account = await desk.kit.units.glance(lambda connection: store.account(connection, caller.id))
    if account is None:
        raise NotFound("There is no account behind this token")
    check_password(body.new_password, account.email, field="new_password")
    proof = await desk.compare(account.email, client_address(request, desk.settings), body.old_password)
    new_hash = await desk.hash(body.new_password) if proof.right else ""
    if not await desk.kit.units.run(
        lambda uow: sessions.change_password(uow, proof, new_hash, desk.settings, refresh_token=body.refresh_token)
    ):
        raise Forbidden("The old password is wrong", problem="invalid-credentials")
