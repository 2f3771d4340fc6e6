"""Guessing: what is counted, for whom, for how long, and that guessing at the same time is no way around."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.types import Receive, Scope, Send

from orderwright.kernel.peers import request_once
from orderwright.kernel.testing import BenchAnswer
from orderwright.services.identity.tables import attempts
from tests.services.identity.people import ADA, Identity, open_identity

SECRET = "the secret of all services"


@pytest.fixture
async def with_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Identity]:
    monkeypatch.setenv("ORDERWRIGHT_SERVICE_SECRET", SECRET)
    monkeypatch.setenv("ORDERWRIGHT_IDENTITY_ADDRESS_FREE_ATTEMPTS", "3")
    async with open_identity(tmp_path) as opened:
        yield opened


async def guess(identity: Identity, password: str = "guess", **more: Any) -> BenchAnswer:
    email = more.pop("email", ADA["email"])
    return await identity.send("POST", "/login", {"email": email, "password": password}, **more)


async def service(identity: Identity, secret: str, **more: Any) -> BenchAnswer:
    return await identity.send("POST", "/service-token", {"service": "order", "secret": secret}, **more)


async def test_locks_grow_and_a_lock_answers_the_same_to_everybody(identity: Identity) -> None:
    await identity.register()
    for email in (ADA["email"], "nobody@example.com"):
        for _ in range(5):
            assert (await guess(identity, email=email)).status == 401
    clock = identity.bench.clock
    for seconds in (30, 60, 120, 240, 480, 900, 900):
        known = await guess(identity, ADA["password"])
        unknown = await guess(identity, ADA["password"], email="nobody@example.com")
        assert (known.status, known.json) == (unknown.status, unknown.json) == (429, known.json)
        assert known.json["type"].endswith("/too-many-attempts")
        assert known.headers["retry-after"] == unknown.headers["retry-after"] == str(seconds)
        clock.advance(seconds - 0.5)
        assert (await guess(identity, ADA["password"])).headers["retry-after"] == "1"
        clock.advance(0.5)
        assert (await guess(identity)).status == 401
        assert (await guess(identity, email="nobody@example.com")).status == 401


async def test_what_is_tried_while_locked_makes_the_lock_no_longer(identity: Identity) -> None:
    await identity.register()
    for _ in range(20):
        await guess(identity)
    identity.bench.clock.advance(30)
    assert await identity.log_in()


async def test_the_right_password_forgives_the_wrong_ones_before_it(identity: Identity) -> None:
    await identity.register()
    for _ in range(3):
        for _ in range(4):
            assert (await guess(identity)).status == 401
        assert await identity.log_in()


async def test_other_spellings_of_an_address_are_no_further_guesses(identity: Identity) -> None:
    await identity.register()
    for email in ("ada@example.com", "ADA@example.com", "Ada@Example.Com", "aDa@example.com", "adA@example.com"):
        assert (await guess(identity, email=email)).status == 401
    assert (await guess(identity, ADA["password"])).status == 429


async def test_guessing_at_the_same_time_allows_no_more_guesses(identity: Identity) -> None:
    """All of them are compared before the first is counted, and still only five count as guesses."""
    await identity.register()
    answers = await asyncio.gather(*(guess(identity, f"guess {n}") for n in range(20)))
    assert sorted(answer.status for answer in answers) == [*[401] * 5, *[429] * 15]
    [row] = await identity.bench.rows(sa.select(attempts).where(attempts.c.subject.startswith("account:")))
    assert row["failures"] == 5


async def test_the_right_password_among_many_guesses_at_once_is_told_from_wrong_ones_only_while_some_are_free(
    identity: Identity, database_url: str
) -> None:
    await identity.register()
    guesses = [*(guess(identity, f"guess {n}") for n in range(10)), guess(identity, ADA["password"])]
    *wrong, right = await asyncio.gather(*guesses)
    if database_url.startswith("sqlite:"):
        assert right.status == 429
        assert right.json == wrong[-1].json
    elif right.status == 429:
        # On PostgreSQL nobody knows who of them comes first; five wrong ones did.
        refused = [answer for answer in wrong if answer.status == 429]
        assert len(refused) == 5
        assert right.json == refused[0].json
    else:
        assert right.status == 200


async def test_an_address_that_guesses_at_many_accounts_is_locked_and_others_are_not(identity: Identity) -> None:
    await identity.register()
    for n in range(50):
        assert (await guess(identity, email=f"user-{n}@example.com", address="192.0.2.1")).status == 401
    assert (await guess(identity, ADA["password"], address="192.0.2.1")).status == 429
    assert (await guess(identity, ADA["password"], address="192.0.2.2")).status == 200


async def test_only_the_address_that_the_gateway_found_counts(identity: Identity) -> None:
    """What a client claims stands to the left of it; all of an IPv6 subscriber's addresses are one."""
    for address in ("6.6.6.6, 192.0.2.1", "7.7.7.7,192.0.2.1", "2001:db8::1", "2001:db8::ffff"):
        await guess(identity, address=address)
    rows = await identity.bench.rows(sa.select(attempts).where(attempts.c.subject.startswith("address:")))
    counted = {row["subject"]: row["failures"] for row in rows}
    assert counted == {"address:192.0.2.1": 2, "address:2001:db8::/64": 2}


@pytest.mark.parametrize(
    ("gateways", "peer", "counted"),
    [
        pytest.param(None, "127.0.0.9", "192.0.2.1", id="by default, this machine"),
        pytest.param(None, "10.1.2.3", "10.1.2.3", id="by default, nobody else"),
        pytest.param('["10.1.0.0/16"]', "10.1.2.3", "192.0.2.1", id="a gateway's network"),
        pytest.param('["10.1.0.0/16"]', "10.2.2.3", "10.2.2.3", id="not a gateway's network"),
        pytest.param('["10.1.0.0/16"]', "127.0.0.1", "127.0.0.1", id="no longer this machine"),
    ],
)
async def test_only_gateways_are_believed_about_the_address_of_a_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gateways: str | None, peer: str, counted: str
) -> None:
    if gateways is not None:
        monkeypatch.setenv("ORDERWRIGHT_IDENTITY_TRUSTED_GATEWAYS", gateways)
    async with open_identity(tmp_path) as identity:

        async def from_peer(scope: Scope, receive: Receive, send: Send) -> None:
            await identity.bench.runtime.app({**scope, "client": (peer, 40_000)}, receive, send)

        headers = {"content-type": "application/json", "x-forwarded-for": "192.0.2.1"}
        body = json.dumps({"email": ADA["email"], "password": "guess"}).encode()
        answer = await request_once(from_peer, "POST", "/login", headers=headers, body=body)
        assert answer.status == 401
        rows = await identity.bench.rows(sa.select(attempts).where(attempts.c.subject.startswith("address:")))
        assert [row["subject"] for row in rows] == [f"address:{counted}"]


async def test_guesses_at_the_old_password_count_as_guesses_at_a_log_in(identity: Identity) -> None:
    """Whoever found an open laptop cannot find out the password with it."""
    await identity.register()
    token = (await identity.log_in())["access_token"]

    async def change(old: str) -> BenchAnswer:
        body = {"old_password": old, "new_password": "another long one"}
        return await identity.send("PUT", "/me/password", body, token=token)

    assert [(await change("guess")).status for _ in range(5)] == [403] * 5
    assert (await change(ADA["password"])).status == 429
    assert (await guess(identity, ADA["password"])).status == 429
    identity.bench.clock.advance(30)
    assert (await change(ADA["password"])).status == 204


async def test_a_service_proves_itself_with_the_secret(with_secret: Identity) -> None:
    answer = await service(with_secret, SECRET)
    assert (answer.status, answer.json["token_type"], answer.json["expires_in"]) == (200, "Bearer", 900)
    me = await with_secret.send("GET", "/me", token=answer.json["access_token"])
    assert me.json == {"id": "service:order", "email": None, "roles": ["service"], "name": None}


async def test_guessing_the_services_secret_locks_the_address_that_does(with_secret: Identity) -> None:
    for secret in ("guess", SECRET[:-1], "géheim"):
        assert (await service(with_secret, secret, address="192.0.2.1")).status == 401
    locked = await service(with_secret, SECRET, address="192.0.2.1")
    assert (locked.status, locked.headers["retry-after"]) == (429, "30")
    assert (await service(with_secret, SECRET, address="192.0.2.2")).status == 200
    with_secret.bench.clock.advance(30)
    assert (await service(with_secret, SECRET, address="192.0.2.1")).status == 200


async def test_without_a_secret_nobody_is_a_service(identity: Identity) -> None:
    for secret in ("None", " ", "**********"):
        assert (await service(identity, secret)).status == 401
    for name in ("", "Order", "order\n", "x" * 41, "service:order"):
        body = {"service": name, "secret": SECRET}
        assert (await identity.send("POST", "/service-token", body)).status == 422


async def test_counts_that_are_old_are_forgotten(identity: Identity) -> None:
    await guess(identity, email="old@example.com")
    identity.bench.clock.advance(23 * 3600)
    await guess(identity, email="young@example.com", address="192.0.2.1")
    identity.bench.clock.advance(2 * 3600)
    assert await identity.bench.run_job("forget-sessions") is True
    assert await identity.bench.run_job("forget-sessions") is False
    rows = await identity.bench.rows(sa.select(attempts.c.subject))
    assert {row["subject"] for row in rows} == {"account:young@example.com", "address:192.0.2.1"}
