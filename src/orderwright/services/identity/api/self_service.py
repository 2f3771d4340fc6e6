"""One's own account."""

from fastapi import APIRouter

from orderwright.kernel.auth import AnyCaller
from orderwright.kernel.errors import Forbidden, NotFound
from orderwright.kernel.web import ExactRoute, View
from orderwright.services.identity import store
from orderwright.services.identity.actions import accounts
from orderwright.services.identity.api.desk import Desk
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
    account = await desk.kit.units.read(lambda connection: store.account(connection, caller.id))
    return MeView(
        id=caller.id,
        email=account.email if account else None,
        roles=sorted(caller.roles),
        name=account.name if account else None,
    )


@router.put("/me/password", status_code=204, summary="Change your password")
async def change_password(body: PasswordBody, caller: AnyCaller, desk: Desk) -> None:
    """Every session ends, also this one's: log in again."""
    account = await desk.kit.units.read(lambda connection: store.account(connection, caller.id))
    if account is None:
        raise NotFound("There is no account behind this token")
    known = await desk.kit.units.read(lambda connection: store.credentials(connection, account.email))
    if not await desk.matches(body.old_password, known[1] if known else None):
        raise Forbidden("The old password is wrong", problem="invalid-credentials")
    check_password(body.new_password, account.email)
    password_hash = await desk.hash(body.new_password)
    await desk.kit.units.run(lambda uow: accounts.set_password(uow, account.id, password_hash))
