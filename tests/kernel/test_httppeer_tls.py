"""Replicas behind TLS: whose certificate is believed, and what is said when it is somebody else's."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from orderwright.kernel.errors import Unavailable
from orderwright.kernel.httppeer import HttpPeer
from orderwright.kernel.peers import request_once
from tests.certificates import self_signed
from tests.kernel.machines import Fleet, Machine

NAME = "orders.test"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a certificate for NAME and its key, which this process believes."""
    path = self_signed(tmp_path / "orders.pem", name=NAME)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


async def here(_: str, __: int) -> Sequence[str]:
    """Every name leads to this machine."""
    return ["127.0.0.1"]


def tls_of(certificate: Path) -> ssl.SSLContext:
    """What a server with that certificate needs."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return tls


async def test_a_certificate_is_looked_at_for_the_name_and_not_for_the_machine(certificate: Path) -> None:
    machine, tools = Machine(tls_of(certificate)), Fleet(0)
    await machine.open()
    for name, is_right in ((NAME, True), ("others.test", False)):
        url = f"https://{name}:{machine.port}"
        peer = HttpPeer("order", url, clock=tools.clock, ids=tools.ids, metrics=tools.metrics, look_up=here)
        if is_right:
            assert (await request_once(peer, "GET", "/orders", headers={}, body=b"")).status == 200
        else:
            with pytest.raises(Unavailable):
                await request_once(peer, "GET", "/orders", headers={}, body=b"")
        await peer.close()
    assert machine.hosts == [f"{NAME}:{machine.port}"]
    await machine.kill()
