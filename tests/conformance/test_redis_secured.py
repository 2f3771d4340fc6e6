"""A Redis with TLS and a password, which may evict and keeps nothing on disk: it is reached, and warned of."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest

from orderwright.kernel.brokers import open_broker
from orderwright.kernel.brokers.redis.broker import RedisBroker
from orderwright.kernel.brokers.redis.connection import Address, Link
from orderwright.kernel.brokers.redis.upkeep import look_at_settings
from orderwright.kernel.errors import BrokerUnavailable
from orderwright.kernel.telemetry import configure_logs
from tests.certificates import self_signed
from tests.conformance.test_broker import message, numbers, take
from tests.conformance.test_redis_upkeep import until
from tests.databases import needed
from tools.backends.server import free_port, listens
from tools.backends.servers import Redis

PASSWORD = "hush hush/#"
IN_A_URL = "hush%20hush%2F%23"
GONE_S = 10.0
"""Sooner than asyncio gives up waiting for a goodbye, which it does after 30 s."""


class SecuredRedis(Redis):
    """TLS only, a password, and an account that may not ask for settings."""

    def prepare(self) -> None:
        for name in ("ours", "others"):
            self_signed(self.folder / f"{name}.pem", name="localhost")
        (self.folder / "redis.conf").write_text(
            f"bind 127.0.0.1 ::1\nport 0\ntls-port {self.port}\ntls-cert-file ours.pem\ntls-key-file ours.pem\n"
            f'tls-auth-clients no\nrequirepass "{PASSWORD}"\nsave ""\nmaxmemory-policy allkeys-lru\n'
            f'user modest on ">{PASSWORD}" ~* +@all -config\n'
        )

    def command(self) -> Sequence[str]:
        return ["redis-server", "redis.conf"]

    def answers(self) -> bool:
        return listens(self.port)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRedis]:
    """It runs while this module's tests do."""
    needed("Redis")
    made = SecuredRedis("redis", tmp_path_factory.mktemp("redis"), free_port())
    if not made.available():
        pytest.skip("redis-server is not on this machine")
    made.start()
    yield made
    made.stop(kill=True)


def url(server: SecuredRedis, user: str = "", password: str = IN_A_URL, certificate: str = "ours.pem") -> str:
    authorities = Path(server.folder) / certificate
    return f"rediss://{user}:{password}@localhost:{server.port}/0?ssl_ca_certs={authorities}"


async def test_it_is_reached_by_tls_and_password_and_what_is_wrong_with_its_settings_is_told(
    server: SecuredRedis,
) -> None:
    log = StringIO()
    configure_logs(form="json", level="info", stream=log)
    async with open_broker(url(server)) as broker:
        group = await broker.subscribe("a", ["t"])
        await broker.publish([message(1)])
        deliveries = await take(group, 1)
        assert numbers(deliveries) == [1]
        await group.acknowledge(deliveries)
        await until(lambda: len(log.getvalue().splitlines()) == 2)
    told = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert told == ["redis_may_evict", "redis_may_forget"]


async def test_an_account_that_may_not_ask_for_settings_works_all_the_same(server: SecuredRedis) -> None:
    log = StringIO()
    configure_logs(form="json", level="info", stream=log)
    modest = url(server, user="modest")
    async with RedisBroker(modest) as broker:
        await broker.declare({"a": ["t"]})
        await broker.publish([message(1)])
        await broker.trim()
        link = Link(Address.parse(modest))
        await look_at_settings(link)
        await link.close()
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("password", "certificate", "why"),
    [("wrong-one", "ours.pem", "WRONGPASS|invalid username-password"), (IN_A_URL, "others.pem", "ertificate|SSL")],
)
async def test_a_wrong_password_and_an_unknown_certificate_are_refused_without_telling_the_password(
    server: SecuredRedis, password: str, certificate: str, why: str
) -> None:
    async with open_broker(url(server, password=password, certificate=certificate)) as broker:
        with pytest.raises(BrokerUnavailable, match=why) as caught:
            await broker.ping()
    assert not any(secret in str(caught.value) for secret in (PASSWORD, IN_A_URL, "wrong-one"))


async def test_a_server_that_says_no_goodbye_keeps_no_connection_open(server: SecuredRedis) -> None:
    before = sockets()
    link = Link(Address.parse(url(server)))
    assert await link.run([(b"PING",)]) == [b"PONG"]
    waiting = asyncio.ensure_future(link.run([(b"BLPOP", "nothing", 0)]))
    await asyncio.sleep(0)
    process = int(server.pid_file.read_text())
    os.killpg(process, signal.SIGSTOP)
    try:
        waiting.cancel()
        await asyncio.wait([waiting])
        await link.close()
        async with asyncio.timeout(GONE_S):
            await until(lambda: sockets() == before)
        assert waiting.cancelled()
    finally:
        os.killpg(process, signal.SIGCONT)


def sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for opened in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the listing's own is closed again
            count += opened.is_socket()
    return count
