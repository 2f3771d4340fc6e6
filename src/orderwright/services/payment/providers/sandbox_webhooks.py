"""The sandbox's webhooks: signed as in Standard Webhooks 1.0.0, kept with what they tell, sent until they are taken.

Invariants: a webhook is in the same transaction of the sandbox's books as what it tells of. A signature is compared in
constant time, and counts for five minutes. https://www.standardwebhooks.com
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from orderwright.kernel.columns import Instant, storable
from orderwright.kernel.database import Database, wait_for_other_migrations
from orderwright.kernel.errors import BusinessError, Invalid, Unauthenticated
from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit
from orderwright.kernel.peers import request_once
from orderwright.kernel.retry import RETRY_EFFECTS
from orderwright.kernel.rows import due, insert, one_of
from orderwright.services.payment.providers import WebhookEvent
from orderwright.services.payment.settings import PaymentSettings

log = structlog.get_logger(__name__)

SEND_EVERY_S = 1.0
AT_ONCE = 50
LEASE = timedelta(seconds=30)
GIVE_UP_AFTER = timedelta(days=3)
TOLERANCE = timedelta(minutes=5)
ROUTE = "/webhooks/sandbox"
TOLD = {"charge.captured": True, "charge.declined": False, "refund.succeeded": None}
"""What is told of, and whether it says that money was taken."""

MOST_MINOR = 10**15
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_EVENT_ID = re.compile(r"[!-~]{1,255}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)

_books = sa.MetaData()
outgoing = sa.Table(
    "webhooks",
    _books,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", Instant, nullable=False, index=True),
    sa.Column("created_at", Instant, nullable=False),
)
secrets = sa.Table(
    "webhook_secrets",
    _books,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("secret", sa.String(100), nullable=False),
)
_NAME = "webhooks"


def sign(secret: str, event_id: str, timestamp: str, body: bytes) -> str:
    """The signature of a webhook, without its version."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()


class SandboxWebhooks:
    """What the sandbox tells by itself, and how it is known to be the sandbox that tells it."""

    def __init__(self, books: Database, kit: Kit, settings: PaymentSettings) -> None:
        self.sends = settings.sandbox_webhooks
        self.jobs: tuple[Job, ...] = (Job("sandbox-webhooks", self.send, SEND_EVERY_S),) if self.sends else ()
        self._books = books
        self._kit = kit
        given = settings.sandbox_webhook_secret
        self._secret = None if given is None else given.get_secret_value()

    async def start(self) -> None:
        """Make the tables, and draw a secret where none was given."""
        await self._books.write(_make_tables)
        if self._secret is None and self.sends:
            drawn = self._kit.ids.secret()
            self._secret = await self._books.write(lambda connection: _kept_secret(connection, drawn))

    def note(self, connection: sa.Connection, told: Sequence[tuple[str, Mapping[str, Any]]], now: datetime) -> None:
        """Have these sent, each a type and what it is about, once the transaction of `connection` has committed."""
        if not self.sends:
            return
        rows = [
            {
                "id": f"evt_{self._kit.ids.new()}",
                "body": msgspec.json.encode({"type": kind, "timestamp": now, "data": data}),
                "attempts": 0,
                "next_attempt_at": now,
                "created_at": now,
            }
            for kind, data in told
        ]
        insert(connection, outgoing, rows)

    async def send(self) -> bool:
        """Send what is due; answers whether more may be."""
        now = self._kit.clock.now()
        due = await self._books.write(lambda connection: _claim(connection, now))
        for row in due:
            done = await self._taken(row.id, row.body) or now - row.created_at > GIVE_UP_AFTER
            delay_s = RETRY_EFFECTS.delay_s(row.attempts + 1, self._kit.ids.jitter()) or 0.0
            again_at = None if done else now + timedelta(seconds=delay_s)
            await self._books.write(partial(_settle, event_id=row.id, again_at=again_at))
        return len(due) == AT_ONCE

    async def _taken(self, event_id: str, body: bytes) -> bool:
        timestamp = str(int(self._kit.clock.now().timestamp()))
        headers = {
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{sign(self._secret or '', event_id, timestamp, body)}",
        }
        try:
            # Through the door that every provider comes by.
            answer = await request_once(self._kit.peers.app("payment"), "POST", ROUTE, headers=headers, body=body)
        except (BusinessError, OSError) as error:
            log.warning("sandbox_webhook_not_taken", event_id=event_id, reason=repr(error))
            return False
        if answer.status >= 300:
            log.warning("sandbox_webhook_not_taken", event_id=event_id, status=answer.status)
        return answer.status < 300

    def read(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """The event (`webhook-id`, `webhook-timestamp`, `webhook-signature`). Unauthenticated; Invalid."""
        event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if self._secret is None or not (_EVENT_ID.fullmatch(event_id) and _TIMESTAMP.fullmatch(timestamp)):
            raise _unsigned()
        expected = sign(self._secret, event_id, timestamp, body)
        given = [part.partition(",") for part in headers.get("webhook-signature", "").split(" ")[:10]]
        signed = any(
            version == "v1" and hmac.compare_digest(expected.encode(), one.encode()) for version, _, one in given
        )
        age_s = abs(self._kit.clock.now().timestamp() - int(timestamp))
        if not signed or age_s > TOLERANCE.total_seconds():
            raise _unsigned()
        return _event(event_id, body)


def _event(event_id: str, body: bytes) -> WebhookEvent:
    try:
        told = msgspec.json.decode(body)
        kind = storable(told["type"], 100)
        if kind not in TOLD:
            return WebhookEvent(event_id, None, type=kind)
        return _about(event_id, kind, told["data"])
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        raise Invalid("The webhook's body is not one of the sandbox's") from None


def _about(event_id: str, kind: str, data: Mapping[str, Any]) -> WebhookEvent:
    amount, currency = data.get("amount"), data.get("currency")
    if amount is not None and not (type(amount) is int and 0 <= amount < MOST_MINOR):
        raise TypeError("amount")
    if currency is not None and not _CURRENCY.fullmatch(currency):
        raise TypeError("currency")
    refund_key = storable(data["refund_key"], 255) if "refund_key" in data else None
    return WebhookEvent(event_id, storable(data["key"], 255), kind, refund_key, TOLD[kind], amount, currency)


_DUE = due(sa.select(outgoing), outgoing.c.next_attempt_at)


def _claim(connection: sa.Connection, now: datetime) -> list[Any]:
    rows = list(connection.execute(_DUE, {"now": now, "most": AT_ONCE}))
    if rows:
        these = one_of(outgoing.c.id, [row.id for row in rows])
        claim = {"attempts": outgoing.c.attempts + 1, "next_attempt_at": now + LEASE}
        connection.execute(sa.update(outgoing).where(these).values(claim))
    return rows


def _settle(connection: sa.Connection, *, event_id: str, again_at: datetime | None) -> None:
    mine = outgoing.c.id == event_id
    if again_at is None:
        connection.execute(sa.delete(outgoing).where(mine))
    else:
        connection.execute(sa.update(outgoing).where(mine).values(next_attempt_at=again_at))


def _kept_secret(connection: sa.Connection, drawn: str) -> str:
    wait_for_other_migrations(connection)
    query = sa.select(secrets.c.secret).where(secrets.c.name == _NAME)
    kept = connection.execute(query).scalar_one_or_none()
    if kept is None:
        connection.execute(sa.insert(secrets).values(name=_NAME, secret=drawn))
    return drawn if kept is None else str(kept)


def _make_tables(connection: sa.Connection) -> None:
    wait_for_other_migrations(connection)
    _books.create_all(connection)


def _unsigned() -> Unauthenticated:
    return Unauthenticated("The webhook is not signed by this provider just now", problem="webhook-signature-invalid")
