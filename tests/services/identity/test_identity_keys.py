"""Signing keys: rotation refuses nobody, what is stored is sealed, and what is forged is worth nothing."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orderwright.kernel import auth
from orderwright.kernel.errors import ConfigurationError, Invalid
from orderwright.services.identity.actions import keys
from orderwright.services.identity.settings import IdentitySettings
from orderwright.services.identity.tables import signing_keys
from tests.services.identity.people import Identity, open_identity

DAY_S = 86_400


async def published(identity: Identity) -> list[Any]:
    document = (await identity.send("GET", "/.well-known/jwks.json")).json
    keys_: list[Any] = document["keys"]
    return keys_


async def access_token(identity: Identity) -> str:
    token: str = (await identity.log_in())["access_token"]
    return token


def key_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def test_a_token_says_what_rfc_9068_wants_and_no_more(identity: Identity) -> None:
    ada = await identity.register()
    token = await access_token(identity)
    [key] = await published(identity)
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "at+jwt", "kid": key["kid"]}
    claims = jwt.decode(token, jwt.PyJWK(key).key, ["ES256"], {"verify_exp": False}, audience=auth.AUDIENCE)
    assert claims.pop("jti")
    now_s = int(identity.bench.clock.now().timestamp())
    assert claims == {
        "sub": ada,
        "roles": ["customer"],
        "iss": auth.ISSUER,
        "aud": auth.AUDIENCE,
        "iat": now_s,
        "exp": now_s + 900,
    }
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


async def test_rotation_refuses_nobody_at_any_second(identity: Identity) -> None:
    """Also whoever fetched the keys just before, and may not ask again for a while."""
    await identity.register()
    tokens = [await access_token(identity)]
    assert await identity.works(tokens[0])
    await identity.bench.do(lambda uow: keys.rotate(uow, IdentitySettings()))
    assert len(await published(identity)) == 2
    for _ in range(15):
        identity.bench.clock.advance(1)
        tokens.append(await access_token(identity))
        assert await identity.works(tokens[-1])
    assert [await identity.works(token) for token in tokens] == [True] * 16
    assert len({key_of(token) for token in tokens}) == 2


async def test_a_new_key_comes_every_thirty_days_and_the_old_one_goes_when_its_last_token_has(
    identity: Identity,
) -> None:
    await identity.register()
    clock, bench = identity.bench.clock, identity.bench
    await bench.run_job("keep-keys-fresh")
    [first] = await published(identity)
    clock.advance(30 * DAY_S - 1)
    await bench.run_job("keep-keys-fresh")
    assert await published(identity) == [first]
    clock.advance(1)
    await bench.run_job("keep-keys-fresh")
    clock.advance(9)
    last = await access_token(identity)
    assert key_of(last) == first["kid"]
    clock.advance(900 + auth.LEEWAY_S - 1)
    await bench.run_job("keep-keys-fresh")
    assert await identity.works(last)
    clock.advance(60)
    await bench.run_job("keep-keys-fresh")
    assert first["kid"] not in {key["kid"] for key in await published(identity)}
    assert await identity.works(await access_token(identity))


async def test_keys_and_sessions_outlive_a_restart(tmp_path: Path) -> None:
    async with open_identity(tmp_path) as first:
        await first.register()
        tokens = await first.log_in()
        before = await published(first)
    async with open_identity(tmp_path, seed=1) as second:
        assert await published(second) == before
        assert await second.works(tokens["access_token"])
        assert (await second.refresh(tokens["refresh_token"])).status == 200


async def test_a_passphrase_that_is_set_later_seals_the_next_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_identity(tmp_path) as first:
        await first.register()
        old = await access_token(first)
    monkeypatch.setenv("ORDERWRIGHT_IDENTITY_KEY_PASSPHRASE", "open sesame")
    async with open_identity(tmp_path, seed=1) as second:
        assert await second.works(old)
        assert await second.works(await access_token(second))
        second.bench.clock.advance(20 * 60)
        await second.bench.run_job("keep-keys-fresh")
        assert await second.works(await access_token(second))
        rows = await second.bench.rows(sa.select(signing_keys.c.private_pem))
        assert ["ENCRYPTED" in row["private_pem"] for row in rows] == [True]


@pytest.mark.parametrize("passphrase", ["wrong", None])
async def test_a_passphrase_that_does_not_open_the_key_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passphrase: str | None
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_IDENTITY_KEY_PASSPHRASE", "open sesame")
    async with open_identity(tmp_path) as first:
        assert len(await published(first)) == 1
    if passphrase is None:
        monkeypatch.delenv("ORDERWRIGHT_IDENTITY_KEY_PASSPHRASE")
    else:
        monkeypatch.setenv("ORDERWRIGHT_IDENTITY_KEY_PASSPHRASE", passphrase)
    with pytest.raises(ConfigurationError, match="KEY_PASSPHRASE"):
        async with open_identity(tmp_path, seed=1):
            pass


async def test_an_integrations_token_outlives_rotations_and_ends_on_its_day(identity: Identity) -> None:
    await identity.register()
    bench = identity.bench
    issued = await bench.do(lambda uow: keys.issue(uow, "integration:erp", ["staff"], timedelta(days=90)))
    assert (await identity.send("GET", "/me", token=issued)).json["id"] == "integration:erp"
    assert key_of(await access_token(identity)) != key_of(issued)
    rows = await bench.rows(sa.select(signing_keys).where(signing_keys.c.id == key_of(issued)))
    assert [row["private_pem"] for row in rows] == [""]
    for _ in range(2):
        bench.clock.advance(40 * DAY_S)
        await bench.run_job("keep-keys-fresh")
        assert await identity.works(issued)
        assert await identity.works(await access_token(identity))
    bench.clock.advance(10 * DAY_S + auth.LEEWAY_S)
    assert not await identity.works(issued)
    bench.clock.advance(3600)
    await bench.run_job("keep-keys-fresh")
    assert key_of(issued) not in {key["kid"] for key in await published(identity)}


@pytest.mark.parametrize(
    ("roles", "lifetime"),
    [
        (["root"], timedelta(days=1)),
        ([], timedelta(days=1)),
        (["staff"], timedelta()),
        (["staff"], timedelta(days=-1)),
        (["staff"], timedelta(days=367)),
    ],
)
async def test_an_integrations_token_that_nobody_may_have_is_not_made(
    identity: Identity, roles: list[str], lifetime: timedelta
) -> None:
    with pytest.raises(Invalid):
        await identity.bench.do(lambda uow: keys.issue(uow, "integration:erp", roles, lifetime))
    assert len(await published(identity)) == 1


def encoded(part: Any) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    signature = token.rpartition(".")[2]
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False}), signature


def changed(token: str, *, header: Any = None, claims: Any = None, signature: str | None = None) -> str:
    """A token with other parts, under the signature that it had."""
    old_header, old_claims, old_signature = parts(token)
    new = encoded({**old_header, **(header or {})}), encoded({**old_claims, **(claims or {})})
    return ".".join((*new, old_signature if signature is None else signature))


def duplicated(token: str) -> str:
    _, claims, signature = parts(token)
    twice = json.dumps(claims)[:-1] + ', "roles": ["admin"]}'
    return f"{token.partition('.')[0]}.{encoded(twice.encode())}.{signature}"


def as_json(token: str) -> str:
    header, claims, signature = token.split(".")
    return json.dumps({"protected": header, "payload": claims, "signature": signature})


TAMPERED: dict[str, Callable[[str], str]] = {
    "no signature": lambda token: changed(token, signature=""),
    "no signature and no dot": lambda token: token.rpartition(".")[0],
    "half a signature": lambda token: token[: -len(token.rpartition(".")[2]) // 2],
    "one byte less": lambda token: changed(
        token, signature=encoded(base64.urlsafe_b64decode(parts(token)[2] + "==")[:-1])
    ),
    "a signature of zeros": lambda token: changed(token, signature=encoded(bytes(64))),
    "none": lambda token: changed(token, header={"alg": "none"}, signature=""),
    "NONE": lambda token: changed(token, header={"alg": "NONE"}, signature=""),
    "nOnE": lambda token: changed(token, header={"alg": "nOnE"}, signature=""),
    "another curve": lambda token: changed(token, header={"alg": "ES384"}),
    "an RSA algorithm": lambda token: changed(token, header={"alg": "RS256"}),
    "other roles": lambda token: changed(token, claims={"roles": ["admin"]}),
    "another name": lambda token: changed(token, claims={"sub": "somebody"}),
    "roles twice": duplicated,
    "another type": lambda token: changed(token, header={"typ": "JWT"}),
    "unencoded": lambda token: changed(token, header={"b64": False, "crit": ["b64"]}),
    "a list of critical extensions that is none": lambda token: changed(token, header={"crit": []}),
    "a key id that is a list": lambda token: changed(token, header={"kid": ["x"]}),
    "a key id that is a question": lambda token: changed(token, header={"kid": "' OR 1=1 --"}),
    "a key id that leads away": lambda token: changed(token, header={"kid": "https://evil.example/jwks.json"}),
    "a fourth part": lambda token: f"{token}.x",
    "five parts, as if encrypted": lambda token: f"{token}.x.y",
    "the JSON form": as_json,
    "deep nesting": lambda token: f"{token.split('.')[0]}.{encoded(b'[' * 2000)}.{token.split('.')[2]}",
    "a header that is no object": lambda token: f"{encoded(['x'])}.{token.partition('.')[2]}",
    "longer than any token": lambda token: token + "A" * 1_000_000,
    "dots": lambda _: "..",
    "no ASCII": lambda token: token[:-1] + "é",
}


async def test_a_token_that_was_tampered_with_is_worth_nothing(identity: Identity) -> None:
    await identity.register()
    token = await access_token(identity)
    assert await identity.works(token)
    answers = {how: await identity.send("GET", "/me", token=tamper(token)) for how, tamper in TAMPERED.items()}
    assert {how: answer.status for how, answer in answers.items()} == dict.fromkeys(TAMPERED, 401)
    assert len({str(answer.json) for answer in answers.values()}) == 1, "an answer says which check failed"
    assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in answers.values())


async def test_a_public_key_is_no_shared_secret(identity: Identity) -> None:
    """The mistake that gave it its name: the verifier takes the algorithm from the token, and the key as its secret."""
    await identity.register()
    header, claims, _ = parts(await access_token(identity))
    [key] = await published(identity)
    pem = jwt.PyJWK(key).key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, json.dumps(key).encode(), b""):
        unsigned = f"{encoded({**header, 'alg': 'HS256'})}.{encoded({**claims, 'roles': ['admin']})}"
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(unsigned.encode(), secret)
        assert not await identity.works(f"{unsigned}.{encoded(signature)}")


async def test_a_key_that_a_token_brings_along_is_not_looked_at(identity: Identity) -> None:
    await identity.register()
    _, claims, _ = parts(await access_token(identity))
    [key] = await published(identity)
    own = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(own.public_key(), as_dict=True)
    brought = {"jwk": public, "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/x", "x5c": ["MIIB"]}
    for name, value in brought.items():
        headers = {"kid": key["kid"], "typ": auth.ACCESS_TYPE, name: value}
        assert not await identity.works(jwt.encode(claims, own, algorithm="ES256", headers=headers)), name


async def test_many_tokens_with_unknown_keys_do_not_lock_out_the_good_ones(identity: Identity) -> None:
    await identity.register()
    token = await access_token(identity)
    for n in range(20):
        assert not await identity.works(changed(token, header={"kid": f"unknown-{n}"}))
    assert await identity.works(token)


async def test_what_is_no_bearer_token_is_none(identity: Identity) -> None:
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", "bearer", "Token x", "Bearer  ", "Bearer a b c"):
        answer = await identity.bench.request("GET", "/me", roles=(), headers={"authorization": header})
        assert answer.status == 401, header
