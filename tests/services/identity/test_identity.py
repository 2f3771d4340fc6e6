"""Who somebody is: passwords, tokens that rotate, keys that rotate, and what guessing leads to."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec

from orderwright.kernel import auth
from orderwright.kernel.testing import ServiceBench
from orderwright.services.identity.actions import accounts, keys
from orderwright.services.identity.manifest import assemble
from orderwright.services.identity.settings import IdentitySettings
from orderwright.services.identity.tables import signing_keys

ADA = {"email": "Ada@Example.com", "password": "a long enough one"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ServiceBench]:
    """Identity, with its own keys: what it signs, it has to verify."""
    async with ServiceBench.open(assemble, "identity", tmp_path) as opened:
        opened.runtime.api.state.verifier = auth.TokenVerifier(lambda: published(opened), opened.clock)
        yield opened


async def published(bench: ServiceBench) -> Any:
    return (await bench.request("GET", "/.well-known/jwks.json", roles=())).json


async def post(bench: ServiceBench, path: str, body: Any, token: str | None = None) -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return await bench.request("POST", path, body, roles=(), headers=headers)


async def me(bench: ServiceBench, token: str) -> Any:
    return await bench.request("GET", "/me", roles=(), headers={"authorization": f"Bearer {token}"})


async def logged_in(bench: ServiceBench) -> Any:
    assert (await post(bench, "/register", ADA)).status == 201
    answer = await post(bench, "/login", ADA)
    assert answer.status == 200
    return answer.json


async def test_register_log_in_and_be_known(bench: ServiceBench) -> None:
    tokens = await logged_in(bench)
    known = await me(bench, tokens["access_token"])
    assert (known.json["email"], known.json["roles"]) == ("ada@example.com", ["customer"])
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 900)
    twice = await post(bench, "/register", {**ADA, "email": "ada@example.com"})
    assert twice.status == 409


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_session(bench: ServiceBench) -> None:
    first = (await logged_in(bench))["refresh_token"]
    second = (await post(bench, "/refresh", {"refresh_token": first})).json["refresh_token"]
    third = (await post(bench, "/refresh", {"refresh_token": second})).json["refresh_token"]
    assert (await post(bench, "/refresh", {"refresh_token": first})).status == 401
    assert (await post(bench, "/refresh", {"refresh_token": third})).status == 401


async def test_logging_out_ends_the_session_and_may_be_repeated(bench: ServiceBench) -> None:
    token = (await logged_in(bench))["refresh_token"]
    assert [(await post(bench, "/logout", {"refresh_token": token})).status for _ in range(2)] == [204, 204]
    assert (await post(bench, "/refresh", {"refresh_token": token})).status == 401


async def test_tokens_end(bench: ServiceBench) -> None:
    tokens = await logged_in(bench)
    bench.clock.advance(15 * 60 + auth.LEEWAY_S)
    assert (await me(bench, tokens["access_token"])).status == 401
    bench.clock.advance(31 * 86_400)
    assert (await post(bench, "/refresh", {"refresh_token": tokens["refresh_token"]})).status == 401


async def test_an_unknown_address_and_a_wrong_password_look_the_same(bench: ServiceBench) -> None:
    await logged_in(bench)
    wrong = await post(bench, "/login", {**ADA, "password": "wrong"})
    unknown = await post(bench, "/login", {"email": "nobody@example.com", "password": "wrong"})
    assert (wrong.status, wrong.json) == (unknown.status, unknown.json) == (401, wrong.json)


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
async def test_guessing_locks_also_with_the_right_password_and_also_nobody(bench: ServiceBench, email: str) -> None:
    await logged_in(bench)
    for _ in range(5):
        assert (await post(bench, "/login", {"email": email, "password": "guess"})).status == 401
    locked = await post(bench, "/login", {"email": email, "password": ADA["password"]})
    assert (locked.status, locked.headers["retry-after"]) == (429, "30")
    bench.clock.advance(31)
    again = await post(bench, "/login", {"email": email, "password": ADA["password"]})
    assert again.status == (200 if email == "ada@example.com" else 401)


async def test_keys_rotate_and_what_the_old_one_signed_stays_valid(bench: ServiceBench) -> None:
    old = (await logged_in(bench))["access_token"]
    await bench.do(lambda uow: keys.rotate(uow, IdentitySettings()))
    bench.clock.advance(10)
    new = (await post(bench, "/login", ADA)).json["access_token"]
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    assert [(await me(bench, token)).status for token in (old, new)] == [200, 200]
    bench.clock.advance(3600)
    await bench.run_job("keep-keys-fresh")
    assert len((await published(bench))["keys"]) == 1
    assert all("d" not in key for key in (await published(bench))["keys"])


async def test_keys_are_encrypted_when_there_is_a_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERWRIGHT_IDENTITY_KEY_PASSPHRASE", "open sesame")
    async with ServiceBench.open(assemble, "identity", tmp_path) as bench:
        await logged_in(bench)
        rows = await bench.rows(sa.select(signing_keys.c.private_pem))
        assert "ENCRYPTED" in rows[0]["private_pem"]


async def test_the_last_administrator_cannot_be_lost(bench: ServiceBench) -> None:
    account = await bench.do(lambda uow: accounts.create_account(uow, "root@example.com", "x", ["admin"]))
    admin = (await bench.runtime.service.desk.sign(account.id, ["admin"]))[0]  # type: ignore[attr-defined]
    headers = {"authorization": f"Bearer {admin}"}
    path = f"/users/{account.id}/roles"
    lost = await bench.request("PUT", path, {"roles": ["staff"]}, roles=(), headers=headers)
    assert lost.status == 409
    strange = await bench.request(
        "PUT", f"/users/{account.id}/roles", {"roles": ["service"]}, roles=(), headers=headers
    )
    assert strange.status == 422


def forged(bench: ServiceBench, *, key: Any = None, algorithm: str = "ES256", header: Any = None, **claims: Any) -> str:
    """A token like ours, but for these."""
    now_s = int(bench.clock.now().timestamp())
    payload = {
        "sub": "x",
        "roles": ["admin"],
        "iss": auth.ISSUER,
        "aud": auth.AUDIENCE,
        "iat": now_s,
        "exp": now_s + 600,
        "jti": "j",
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    key = bench.keys._private if key is None else key
    return jwt.encode(
        payload, key, algorithm=algorithm, headers={"kid": "bench", "typ": auth.ACCESS_TYPE, **(header or {})}
    )


FORGERIES: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "somebody"},
    "another audience": {"aud": "somebody"},
    "no end": {"exp": None},
    "ended": {"exp": 1},
    "not yet": {"nbf": 4_000_000_000},
    "no id": {"jti": None},
    "a number for a name": {"sub": 7},
    "roles as a text": {"roles": "admin"},
    "a refresh token": {"header": {"typ": "rt+jwt"}},
    "an unknown key": {"header": {"kid": "other"}},
    "a key that leads away": {"header": {"kid": "../../etc/passwd"}},
    "a critical extension": {"header": {"crit": ["b64"]}},
    "no algorithm": {"algorithm": "none", "key": ""},
    "a shared secret": {"algorithm": "HS256", "key": "public key as a secret, long enough to be taken"},
    "another key": {"key": ec.generate_private_key(ec.SECP256R1())},
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_token_is_worth_nothing(tmp_path: Path, name: str) -> None:
    async with ServiceBench.open(assemble, "identity", tmp_path) as bench:
        assert (await me(bench, forged(bench))).status == 200
        answer = await me(bench, forged(bench, **FORGERIES[name]))
        assert answer.status == 401
        assert answer.json["type"].endswith("/unauthorized")


async def test_services_prove_themselves_with_their_secret(tmp_path: Path) -> None:
    async with ServiceBench.open(assemble, "identity", tmp_path) as bench:
        refused = await post(bench, "/service-token", {"service": "order", "secret": "guess"})
        assert refused.status == 401
