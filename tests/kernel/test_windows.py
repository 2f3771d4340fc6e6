"""How long things are remembered (docs/promises.md): a shorter time would break what users rely on."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from orderwright.kernel import idempotency, inbox
from orderwright.kernel.messages import Message
from orderwright.kernel.tables import idempotency_keys, kernel_metadata

THEN = datetime(2026, 1, 1, tzinfo=UTC)
MOMENT = timedelta(seconds=1)


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    """A database with the kernel's tables."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as opened:
        kernel_metadata.create_all(opened)
        yield opened
    engine.dispose()


def test_the_inbox_knows_a_message_for_30_days(connection: sa.Connection) -> None:
    message = Message(id="m-1", name="Said", topic="said", key="k", source="/order", time=THEN, body=b"{}")
    assert inbox.accept(connection, [message], THEN) == [message]
    almost = THEN + timedelta(days=30) - MOMENT
    assert inbox.forget(connection, almost) == 0
    assert inbox.accept(connection, [message], almost) == []
    assert inbox.forget(connection, THEN + timedelta(days=30) + MOMENT) == 1


def test_an_idempotency_key_is_kept_for_30_days(connection: sa.Connection) -> None:
    row = {"caller": "ada", "key": "k-1", "fingerprint": "f", "status": 201, "lease_until": THEN, "created_at": THEN}
    connection.execute(sa.insert(idempotency_keys).values(row))
    assert idempotency.forget(connection, THEN + timedelta(days=30) - MOMENT) == 0
    assert idempotency.forget(connection, THEN + timedelta(days=30) + MOMENT) == 1
