"""Accounts and roles for administrators, and addresses for the services that write to people."""

from typing import Annotated

from fastapi import APIRouter, Query

from orderwright.kernel.auth import ADMIN, SERVICE, Admin, AnyCaller, ServiceOnly
from orderwright.kernel.errors import Malformed, NotFound
from orderwright.kernel.web import Cursor, ExactRoute, Limit, Page
from orderwright.services.identity import store
from orderwright.services.identity.actions import accounts
from orderwright.services.identity.api.desk import Desk
from orderwright.services.identity.api.schemas import AccountView, ContactView, RolesBody, account_view

router = APIRouter(route_class=ExactRoute, tags=["accounts"])


@router.get("/users", summary="Accounts (administrators)")
async def list_users(
    _: Admin,
    desk: Desk,
    q: Annotated[str | None, Query(min_length=1, max_length=100, description="In the e-mail address")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AccountView]:
    text = None if q is None else q.replace("\x00", "")
    after = None if cursor is None else cursor.replace("\x00", "")
    if after is not None and await desk.kit.units.glance(lambda c: store.account(c, after)) is None:
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    found = await desk.kit.units.glance(lambda c: store.listed(c, text=text, after=after, limit=limit + 1))
    following = found[limit - 1].id if len(found) > limit else None
    return Page(items=[account_view(account) for account in found[:limit]], next_cursor=following)


@router.get("/users/{user_id}", summary="An account (its owner, administrators, services)")
async def get_user(user_id: str, caller: AnyCaller, desk: Desk) -> AccountView:
    account = None
    if caller.id == user_id or caller.has(ADMIN, SERVICE):
        account = await desk.kit.units.glance(lambda connection: store.account(connection, user_id))
    if account is None:
        raise NotFound("There is no such account")
    return account_view(account)


@router.put("/users/{user_id}/roles", summary="Give exactly these roles (administrators)")
async def put_roles(user_id: str, body: RolesBody, _: Admin, desk: Desk) -> AccountView:
    """An access token that was given out keeps its old roles for its few minutes."""
    return account_view(await desk.kit.units.run(lambda uow: accounts.set_roles(uow, user_id, body.roles)))


@router.post("/users/{user_id}/disable", summary="Lock an account out (administrators)")
async def disable_user(user_id: str, _: Admin, desk: Desk) -> AccountView:
    return account_view(await desk.kit.units.run(lambda uow: accounts.set_disabled(uow, user_id, disabled=True)))


@router.post("/users/{user_id}/enable", summary="Let an account in again (administrators)")
async def enable_user(user_id: str, _: Admin, desk: Desk) -> AccountView:
    return account_view(await desk.kit.units.run(lambda uow: accounts.set_disabled(uow, user_id, disabled=False)))


@router.get("/contacts", summary="How to reach people (services)", tags=["services"])
async def contacts(
    _: ServiceOnly, desk: Desk, user_id: Annotated[list[str], Query(min_length=1, max_length=200)]
) -> list[ContactView]:
    ids = [one for one in user_id if "\x00" not in one]
    found = await desk.kit.units.glance(lambda connection: store.accounts_of(connection, ids))
    return [ContactView(customer_id=a.id, name=a.name, email=a.email, phone=a.phone) for a in found]
