"""What an operator is told of a broker, and by which exit status."""

import pytest

from orderwright.cli.broker import drain, show_backlog
from orderwright.contracts import audience
from orderwright.contracts.orders import OrderCreated
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.errors import ConfigurationError
from tests.brokers import BROKERS, broker_url
from tests.conformance.test_broker import message


@pytest.mark.parametrize("kind", BROKERS[1:])
async def test_what_is_left_is_told_for_each_service(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = broker_url(kind)
    monkeypatch.setenv("ORDERWRIGHT_BROKER_URL", url)
    async with open_broker(url) as broker:
        await broker.declare(audience())
        assert await show_backlog() == 0
        await broker.publish([message(1, topic=OrderCreated.topic)])
    capsys.readouterr()
    assert await show_backlog() == 1
    told = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert {name: int(left) for name, left in told} == {
        **dict.fromkeys(audience(), 0),
        **dict.fromkeys(OrderCreated.heard_by, 1),
    }


async def test_a_broker_that_does_not_answer_is_neither_empty_nor_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERWRIGHT_BROKER_URL", "redis://:hush@127.0.0.1:1/")
    assert await show_backlog() == 2
    assert await drain(timeout_s=0) == 2
    said = capsys.readouterr().err
    assert "127.0.0.1:1" in said
    assert "hush" not in said


async def test_the_in_process_broker_has_nothing_to_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERWRIGHT_BROKER_URL", "memory://")
    for ask in (show_backlog(), drain(timeout_s=0)):
        with pytest.raises(ConfigurationError, match="nothing that is not in an outbox"):
            await ask
