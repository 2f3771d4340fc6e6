"""Sessions: one use for each refresh token, whoever asks at once; and what a new password ends."""

import asyncio
import hashlib

import sqlalchemy as sa

from orderwright.services.identity.tables import refresh_tokens, sessions
from tests.services.identity.people import ADA, Identity

NEW = "an even longer one"


async def test_refresh_tokens_are_stored_as_digests_alone(identity: Identity) -> None:
    await identity.register()
    tokens = await identity.log_in()
    [row] = await identity.bench.rows(sa.select(refresh_tokens))
    assert row["digest"] == hashlib.sha256(tokens["refresh_token"].encode()).hexdigest()
    assert tokens["refresh_token"] not in str(await identity.bench.rows(sa.select(sessions)) + [row])


async def test_of_many_who_use_a_refresh_token_at_once_one_gets_through_and_the_session_ends(
    identity: Identity,
) -> None:
    await identity.register()
    stolen = (await identity.log_in())["refresh_token"]
    answers = await asyncio.gather(*(identity.refresh(stolen) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200, *[401] * 7]
    winner = next(answer for answer in answers if answer.status == 200)
    assert (await identity.refresh(winner.json["refresh_token"])).status == 401


async def test_a_reuse_ends_one_session_and_no_other(identity: Identity) -> None:
    await identity.register()
    phone, laptop = (await identity.log_in())["refresh_token"], (await identity.log_in())["refresh_token"]
    assert (await identity.refresh(phone)).status == 200
    assert (await identity.refresh(phone)).status == 401
    assert (await identity.refresh(laptop)).status == 200


async def test_logging_out_with_an_old_token_ends_the_session_too(identity: Identity) -> None:
    await identity.register()
    first = (await identity.log_in())["refresh_token"]
    second = (await identity.refresh(first)).json["refresh_token"]
    assert (await identity.send("POST", "/logout", {"refresh_token": first})).status == 204
    assert (await identity.refresh(second)).status == 401


async def test_tokens_that_prove_nothing_are_refused_alike(identity: Identity) -> None:
    await identity.register()
    tokens = await identity.log_in()
    refused = [await identity.refresh(token) for token in ("unknown", tokens["access_token"][:500], "\u202e")]
    assert {answer.status for answer in refused} == {401}
    assert len({str(answer.json) for answer in refused}) == 1
    assert (await identity.send("POST", "/logout", {"refresh_token": "unknown"})).status == 204
    for body in ({}, {"refresh_token": ""}, {"refresh_token": "x" * 501}, {"refresh_token": 7}):
        assert (await identity.send("POST", "/refresh", body)).status == 422


async def test_a_session_does_not_outlive_its_time_by_being_renewed(identity: Identity) -> None:
    await identity.register()
    token = (await identity.log_in())["refresh_token"]
    for _ in range(29):
        identity.bench.clock.advance(86_400)
        token = (await identity.refresh(token)).json["refresh_token"]
    identity.bench.clock.advance(86_400)
    assert (await identity.refresh(token)).status == 401


async def test_sessions_that_are_over_are_forgotten_with_their_tokens(identity: Identity) -> None:
    await identity.register()
    old = (await identity.log_in())["refresh_token"]
    assert (await identity.refresh(old)).status == 200
    identity.bench.clock.advance(20 * 86_400)
    young = (await identity.log_in())["refresh_token"]
    identity.bench.clock.advance(11 * 86_400)
    assert await identity.bench.run_job("forget-sessions") is True
    assert await identity.bench.run_job("forget-sessions") is False
    assert len(await identity.bench.rows(sa.select(sessions))) == 1
    assert len(await identity.bench.rows(sa.select(refresh_tokens))) == 1
    assert (await identity.refresh(young)).status == 200


async def change(identity: Identity, token: str, old: str = ADA["password"], **more: str) -> int:
    body = {"old_password": old, "new_password": NEW, **more}
    return (await identity.send("PUT", "/me/password", body, token=token)).status


async def test_a_new_password_ends_every_session_but_the_one_that_is_named(identity: Identity) -> None:
    await identity.register()
    mine, other = await identity.log_in(), await identity.log_in()
    assert await change(identity, mine["access_token"], refresh_token=mine["refresh_token"]) == 204
    assert (await identity.refresh(other["refresh_token"])).status == 401
    assert (await identity.refresh(mine["refresh_token"])).status == 200
    assert (await identity.send("POST", "/login", ADA)).status == 401
    assert await identity.log_in(password=NEW)


async def test_without_a_named_session_a_new_password_ends_them_all(identity: Identity) -> None:
    await identity.register()
    mine = await identity.log_in()
    assert await change(identity, mine["access_token"]) == 204
    assert (await identity.refresh(mine["refresh_token"])).status == 401


async def test_a_new_password_needs_the_old_one_and_leaves_others_alone(identity: Identity) -> None:
    await identity.register()
    mine = await identity.log_in()
    await identity.register(email="bob@example.com")
    bobs = await identity.log_in(email="bob@example.com")
    assert await change(identity, mine["access_token"], old="wrong") == 403
    assert await change(identity, mine["access_token"], new_password="password123") == 422
    assert await change(identity, mine["access_token"], new_password="short") == 422
    assert await change(identity, mine["access_token"], user_id="bob") == 422
    assert await identity.log_in()
    assert await change(identity, mine["access_token"], refresh_token=bobs["refresh_token"]) == 204
    assert (await identity.refresh(mine["refresh_token"])).status == 401
    assert (await identity.refresh(bobs["refresh_token"])).status == 200


async def test_of_many_new_passwords_at_once_one_is_set(identity: Identity) -> None:
    await identity.register()
    token = (await identity.log_in())["access_token"]
    wanted = [f"long enough number {n}" for n in range(4)]
    statuses = await asyncio.gather(*(change(identity, token, new_password=one) for one in wanted))
    assert sorted(statuses) == [204, 403, 403, 403]
    assert await identity.log_in(password=wanted[statuses.index(204)])


async def test_a_password_that_was_changed_during_a_log_in_opens_no_session(identity: Identity) -> None:
    """Comparing takes long; the old password must not slip through behind the change."""
    await identity.register()
    token = (await identity.log_in())["access_token"]
    changed, login = await asyncio.gather(change(identity, token), identity.send("POST", "/login", ADA))
    assert changed == 204
    if login.status == 200:
        assert (await identity.refresh(login.json["refresh_token"])).status == 401
    open_sessions = await identity.bench.rows(sa.select(sessions).where(sessions.c.revoked_at.is_(None)))
    assert open_sessions == []
