"""Accounts: who may make, see and change them, and what is refused."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from orderwright.services.identity.actions import accounts, keys
from orderwright.services.identity.settings import IdentitySettings
from orderwright.services.identity.tables import accounts as accounts_table
from tests.services.identity.people import ADA, Identity

BAD_EMAILS = [
    "",
    "ada",
    "ada@",
    "ada@localhost",
    "ada@example.com\r\nBcc: x@example.com",
    "a\u202eda@example.com",
    "a\u200bda@example.com",
    "ada\x00@example.com",
    '"ada lovelace"@example.com',
    f"{'a' * 65}@example.com",
    f"ada@{'a.' * 130}com",
    7,
    None,
    ["ada@example.com"],
]


BAD_MEMBERS: list[dict[str, Any]] = [
    {"password": "7 chars"},
    {"password": "x" * 257},
    {"password": "password123"},
    {"password": ADA["email"]},
    {"password": 12345678},
    {"roles": ["admin"]},
    {"id": "customer-1"},
    {"disabled": False},
    {"name": "Ada\r\nLovelace"},
    {"phone": "call me"},
]


async def test_what_is_no_e_mail_address_makes_no_account(identity: Identity) -> None:
    for email in BAD_EMAILS:
        answer = await identity.send("POST", "/register", {**ADA, "email": email})
        assert answer.status == 422, email
    assert await identity.bench.rows(sa.select(accounts_table)) == []


async def test_what_a_customer_may_not_say_makes_no_account_and_is_not_repeated(identity: Identity) -> None:
    for more in BAD_MEMBERS:
        answer = await identity.send("POST", "/register", {**ADA, **more})
        assert answer.status == 422, more
        assert str(more.get("password", "never")) not in str(answer.json)
    assert await identity.bench.rows(sa.select(accounts_table)) == []


async def test_two_spellings_of_one_address_are_one_account(identity: Identity) -> None:
    await identity.register(email="Ada@Example.COM")
    taken = await identity.send("POST", "/register", ADA)
    assert (taken.status, taken.json["type"].rpartition("/")[2]) == (409, "email-taken")
    assert await identity.log_in(email="ADA@example.com")


async def test_of_many_who_register_one_address_at_once_one_gets_it(identity: Identity) -> None:
    answers = await asyncio.gather(*(identity.send("POST", "/register", ADA) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [201, *[409] * 9]


async def test_a_password_is_stored_as_its_hash_alone_and_typed_alike_on_every_system(identity: Identity) -> None:
    await identity.register(password="caf\u00e9 au lait")
    [row] = await identity.bench.rows(sa.select(accounts_table))
    assert row["password_hash"].startswith("$argon2id$")
    assert "lait" not in str(row)
    assert await identity.log_in(password="cafe\u0301 au lait")


async def test_a_new_customer_is_told_who_they_are(identity: Identity) -> None:
    ada = await identity.register(name="Ada")
    answer = await identity.send("GET", "/me", token=(await identity.log_in())["access_token"])
    assert answer.json == {"id": ada, "email": ADA["email"], "roles": ["customer"], "name": "Ada"}


async def test_an_account_is_shown_to_its_owner_to_administrators_and_to_services_only(identity: Identity) -> None:
    ada = await identity.register()
    own = (await identity.log_in())["access_token"]
    admin = await identity.token_for("admin")
    staff = await identity.token_for("staff", email="staff@example.com")
    await identity.register(email="bob@example.com")
    other = (await identity.log_in(email="bob@example.com"))["access_token"]
    path = f"/users/{ada}"
    statuses = [(await identity.send("GET", path, token=token)).status for token in (own, admin, staff, other, None)]
    assert statuses == [200, 200, 404, 404, 401]
    assert (await identity.send("GET", "/users/nobody", token=admin)).status == 404


async def test_accounts_are_listed_page_by_page_and_found_by_their_address(identity: Identity) -> None:
    for name in ("ada", "bob", "eve_1", "eveX1"):
        await identity.register(email=f"{name}@example.com")
    admin = await identity.token_for("admin")
    seen: list[str] = []
    query = "limit=2"
    while True:
        page = (await identity.send("GET", "/users", token=admin, query=query)).json
        seen += [account["email"].partition("@")[0] for account in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=2&cursor={page['next_cursor']}"
    assert seen == ["ada", "bob", "eve_1", "evex1", "boss"]
    found = await identity.send("GET", "/users", token=admin, query="q=EVE_1")
    assert [account["email"] for account in found.json["items"]] == ["eve_1@example.com"]
    assert "password" not in str(found.json)


async def test_a_list_is_asked_for_with_what_it_gave_out(identity: Identity) -> None:
    admin = await identity.token_for("admin")
    expected = {
        "cursor=x": 400,
        "cursor=%00": 400,
        "limit=0": 422,
        "limit=201": 422,
        "q=": 422,
        "q=%00": 200,
        "q=%25": 200,
    }
    found = {query: (await identity.send("GET", "/users", token=admin, query=query)).status for query in expected}
    assert found == expected


@pytest.mark.parametrize("role", ["customer", "staff"])
async def test_only_administrators_administer(identity: Identity, role: str) -> None:
    ada = await identity.register()
    token = await identity.token_for(role)
    for method, path, body in (
        ("GET", "/users", None),
        ("PUT", f"/users/{ada}/roles", {"roles": ["admin"]}),
        ("POST", f"/users/{ada}/disable", None),
        ("POST", f"/users/{ada}/enable", None),
        ("GET", "/contacts", None),
    ):
        query = f"user_id={ada}" if path == "/contacts" else ""
        assert (await identity.send(method, path, body, token=token, query=query)).status == 403, path


async def test_new_roles_are_in_the_next_token(identity: Identity) -> None:
    ada = await identity.register()
    session = await identity.log_in()
    admin = await identity.token_for("admin")
    changed = await identity.send("PUT", f"/users/{ada}/roles", {"roles": ["staff", "customer", "staff"]}, token=admin)
    assert changed.json["roles"] == ["customer", "staff"]
    renewed = (await identity.refresh(session["refresh_token"])).json["access_token"]
    assert (await identity.send("GET", "/me", token=renewed)).json["roles"] == ["customer", "staff"]


async def test_roles_that_nobody_may_give_change_nothing(identity: Identity) -> None:
    ada = await identity.register()
    admin = await identity.token_for("admin")
    bad: list[Any] = [[], ["service"], ["root"], ["staff", "service"], "admin", [1], None]
    for roles in bad:
        assert (await identity.send("PUT", f"/users/{ada}/roles", {"roles": roles}, token=admin)).status == 422
    assert (await identity.send("GET", f"/users/{ada}", token=admin)).json["roles"] == ["customer"]


async def test_unknown_accounts_cannot_be_changed(identity: Identity) -> None:
    admin = await identity.token_for("admin")
    assert (await identity.send("PUT", "/users/nobody/roles", {"roles": ["staff"]}, token=admin)).status == 404
    for verb in ("disable", "enable"):
        assert (await identity.send("POST", f"/users/nobody/{verb}", token=admin)).status == 404


async def test_administrators_who_remove_each_other_at_once_leave_one(identity: Identity) -> None:
    tokens = [await identity.token_for("admin", email=f"admin-{n}@example.com") for n in range(4)]
    ids = [(await identity.send("GET", "/me", token=token)).json["id"] for token in tokens]
    demote = [identity.send("PUT", f"/users/{one}/roles", {"roles": ["staff"]}, token=tokens[0]) for one in ids[:2]]
    disable = [identity.send("POST", f"/users/{one}/disable", token=tokens[0]) for one in ids[2:]]
    answers = await asyncio.gather(*demote, *disable)
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 409]
    refused = next(answer for answer in answers if answer.status == 409)
    assert refused.json["type"].endswith("/last-admin")


async def test_a_disabled_administrator_does_not_count_as_the_last_one(identity: Identity) -> None:
    first = await identity.token_for("admin", email="first@example.com")
    await identity.token_for("admin", email="second@example.com")
    listed = (await identity.send("GET", "/users", token=first)).json["items"]
    ids = {account["email"]: account["id"] for account in listed}
    assert (await identity.send("POST", f"/users/{ids['second@example.com']}/disable", token=first)).status == 200
    assert (await identity.send("POST", f"/users/{ids['first@example.com']}/disable", token=first)).status == 409


async def test_a_disabled_account_is_out_until_it_is_let_in_again(identity: Identity) -> None:
    ada = await identity.register()
    session = await identity.log_in()
    admin = await identity.token_for("admin")
    assert (await identity.send("POST", f"/users/{ada}/disable", token=admin)).json["disabled"] is True
    assert (await identity.send("POST", f"/users/{ada}/disable", token=admin)).status == 200
    refused = await identity.send("POST", "/login", ADA)
    unknown = await identity.send("POST", "/login", {**ADA, "email": "nobody@example.com"})
    assert (refused.status, refused.json) == (401, unknown.json)
    assert (await identity.refresh(session["refresh_token"])).status == 401
    assert (await identity.send("POST", f"/users/{ada}/enable", token=admin)).json["disabled"] is False
    assert (await identity.refresh(session["refresh_token"])).status == 401
    assert await identity.log_in()


async def test_services_learn_how_to_reach_people(identity: Identity) -> None:
    ada = await identity.register(name="Ada", phone="+44 20 7946 0000")
    bob = await identity.register(email="bob@example.com")
    bench = identity.bench
    token = await bench.do(lambda uow: keys.issue(uow, "service:notification", ["service"], timedelta(hours=1)))
    query = f"user_id={ada}&user_id={bob}&user_id=nobody&user_id=%00&user_id={ada}"
    answer = await identity.send("GET", "/contacts", token=token, query=query)
    assert sorted(answer.json, key=lambda one: one["email"]) == [
        {"customer_id": ada, "name": "Ada", "email": "ada@example.com", "phone": "+44 20 7946 0000"},
        {"customer_id": bob, "name": None, "email": "bob@example.com", "phone": None},
    ]
    too_many = "&".join(f"user_id={n}" for n in range(201))
    assert (await identity.send("GET", "/contacts", token=token, query=too_many)).status == 422


async def test_an_account_with_a_hash_of_another_kind_lets_nobody_in(identity: Identity) -> None:
    await identity.bench.do(lambda uow: accounts.create_account(uow, ADA["email"], "imported", ["customer"]))
    assert (await identity.send("POST", "/login", ADA)).status == 401


def test_the_right_password_is_told_from_a_wrong_one() -> None:
    settings = IdentitySettings()
    password_hash = accounts.hash_password("a long enough one", settings)
    given = ("a long enough one", "a long enough onE", "")
    assert [accounts.verify_password(one, password_hash, settings) for one in given] == [True, False, False]
    assert not accounts.verify_password("a long enough one", None, settings)
