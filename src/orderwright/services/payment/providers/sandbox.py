"""The sandbox: a payment provider that behaves like one, with its own books, and takes no real money.

What a card does is decided by its number (docs/reference/sandbox-cards.md). A token carries that decision, the brand
and the last four digits; the number itself is forgotten at once. Invariant: its books are written by it alone and hold
one charge a key, so they can be compared with ours.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.batching import Gathered
from orderwright.kernel.columns import Instant
from orderwright.kernel.database import Database, open_database, wait_for_other_migrations
from orderwright.kernel.errors import Invalid
from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit
from orderwright.kernel.rows import among, insert_ignoring, insert_new
from orderwright.services.payment.domain import Card
from orderwright.services.payment.providers import (
    Captured,
    Declined,
    Outcome,
    ProviderTimeout,
    ProviderUnavailable,
    Token,
    WebhookEvent,
)
from orderwright.services.payment.providers.sandbox_webhooks import SandboxWebhooks
from orderwright.services.payment.settings import PaymentSettings

CARDS: Mapping[str, str] = {
    "4000000000000002": "card_declined",
    "4000000000009995": "insufficient_funds",
    "4000000000000069": "expired_card",
    "4000000000000127": "incorrect_cvc",
    "4000000000000119": "processing_error",
    "4000000000000010": "timeout_taken",
    "4000000000000028": "timeout_not_taken",
    "4000000000000036": "slow",
    "4000000000000044": "unavailable",
    "4000000000000051": "silent",
    "4000000000000077": "refund_timeout",
    "4000000000000085": "other_amount",
    "4000000000000093": "declined_then_taken",
}
"""What these numbers do; every other plausible number succeeds."""
SUCCESS = "approve"
DECLINES = frozenset({"card_declined", "insufficient_funds", "expired_card", "incorrect_cvc", "processing_error"})
FAILS_TWICE = 2

_TOKEN = re.compile(r"tok_(?P<brand>[a-z]{2,12})_(?P<last4>[0-9]{4})_(?P<behaviour>[a-z_]{2,30})", re.ASCII)
_SHORTHANDS = {
    "tok_visa": "tok_visa_4242_approve",
    "tok_mastercard": "tok_mastercard_4444_approve",
    "tok_declined": "tok_visa_0002_card_declined",
}

_books = sa.MetaData()
charges = sa.Table(
    "charges",
    _books,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("outcome", sa.String(40), nullable=False, comment="captured, or why not"),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("behaviour", sa.String(30), comment="what the card does later on"),
    sa.Column("at", Instant, nullable=False),
)
refunds = sa.Table(
    "refunds",
    _books,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("charge_key", sa.String(64), nullable=False, index=True),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
)
CAPTURED = "captured"
_BY_KEYS = sa.select(charges).where(among(charges.c.key, "keys"))


def open_sandbox(kit: Kit, settings: PaymentSettings) -> "Sandbox":
    """The sandbox with its books beside the services' databases."""
    return Sandbox(open_database(kit.platform.effective_database_url, "sandbox"), kit, settings)


class Sandbox:
    """Plays a provider."""

    name = "sandbox"
    accepts_cards = True
    calls_at_once = 100

    def __init__(self, books: Database, kit: Kit, settings: PaymentSettings) -> None:
        self._books = books
        self._clock = kit.clock
        self._settings = settings
        self._webhooks = SandboxWebhooks(books, kit, settings)
        self._tries: dict[str, int] = {}
        self._entries: Gathered[dict[str, Any], Outcome] = Gathered(self._enter_charges)
        self.jobs: tuple[Job, ...] = self._webhooks.jobs

    async def start(self) -> None:
        await self._books.create()
        await self._books.write(_make_tables)
        await self._webhooks.start()

    async def close(self) -> None:
        await self._books.close()

    async def tokenize(self, cards: Sequence[Card]) -> Sequence[Token]:
        return [
            Token(f"tok_{card.brand}_{card.last4}_{CARDS.get(card.number, SUCCESS)}", card.brand, card.last4)
            for card in cards
        ]

    def describe(self, token: str) -> Token:
        match = _TOKEN.fullmatch(_SHORTHANDS.get(token, token))
        if match is None:
            raise Invalid(
                "The payment method cannot be used: the token is none of the sandbox's",
                problem="invalid-payment-method",
                errors=[{"loc": ["token"], "msg": "is no token of the sandbox, like tok_visa"}],
            )
        return Token(match[0], match["brand"], match["last4"])

    async def charge(self, key: str, token: str, amount_minor: int, currency: str) -> Outcome:
        match = _TOKEN.fullmatch(token)
        behaviour = match["behaviour"] if match else "processing_error"
        if behaviour != SUCCESS:
            known = await self.lookup(key)
            if known is not None:
                return known
            await self._misbehave(behaviour, key)
        entry = {
            "key": key,
            "outcome": behaviour if behaviour in DECLINES else CAPTURED,
            "amount_minor": amount_minor - (behaviour == "other_amount"),
            "currency": currency,
            "behaviour": None if behaviour == SUCCESS else behaviour,
            "at": self._clock.now(),
        }
        outcome = await self._entries.submit(entry)
        if behaviour in {"timeout_taken", "silent"}:
            raise ProviderTimeout("The sandbox took the money and did not answer")
        return Declined("card_declined") if behaviour == "declined_then_taken" else outcome

    async def lookup(self, key: str) -> Outcome | None:
        row = await self._books.read(
            lambda connection: connection.execute(sa.select(charges).where(charges.c.key == key)).one_or_none()
        )
        if row is not None and row.behaviour == "silent":
            until = row.at + timedelta(seconds=self._settings.sandbox_silent_s)
            if self._clock.now() < until:
                raise ProviderTimeout("The sandbox does not say what became of it")
        return None if row is None else _outcome(row)

    async def refund(self, key: str, charge_key: str, amount_minor: int) -> None:
        now = self._clock.now()

        def enter(connection: sa.Connection) -> bool:
            charge = sa.select(charges).where(charges.c.key == charge_key, charges.c.outcome == CAPTURED)
            # Locked, so that two refunds at once see each other.
            taken = connection.execute(charge.with_for_update()).one_or_none()
            row = {"key": key, "charge_key": charge_key, "amount_minor": amount_minor, "at": now}
            new = bool(insert_new(connection, refunds, [row], ["key"]))
            back = sa.select(sa.func.sum(refunds.c.amount_minor)).where(refunds.c.charge_key == charge_key)
            if taken is None or (connection.execute(back).scalar() or 0) > taken.amount_minor:
                raise ProviderUnavailable("The sandbox gives no more back than it took")
            if new:
                money = {"key": charge_key, "refund_key": key, "amount": amount_minor, "currency": taken.currency}
                self._webhooks.note(connection, [("refund.succeeded", money)], now)
            return new and taken.behaviour == "refund_timeout"

        if await self._books.write(enter):
            raise ProviderTimeout("The sandbox gave the money back and did not answer")

    async def lookup_refund(self, key: str) -> int | None:
        query = sa.select(refunds.c.amount_minor).where(refunds.c.key == key)
        return await self._books.read(lambda connection: connection.execute(query).scalar_one_or_none())

    def read_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        return self._webhooks.read(headers, body)

    async def _misbehave(self, behaviour: str, key: str) -> None:
        if behaviour == "slow":
            await self._clock.sleep(self._settings.sandbox_slow_s)
        self._tries[key] = self._tries.get(key, 0) + 1
        if behaviour == "timeout_not_taken" and self._tries[key] == 1:
            raise ProviderTimeout("The sandbox did not answer, and took nothing")
        if behaviour == "unavailable" and self._tries[key] <= FAILS_TWICE:
            raise ProviderUnavailable("The sandbox is down")
        del self._tries[key]

    async def _enter_charges(self, entries: Sequence[dict[str, Any]]) -> Sequence[Outcome]:
        keys = [entry["key"] for entry in entries]

        def enter(connection: sa.Connection) -> dict[str, Outcome]:
            if self._webhooks.sends:
                added = {row.key for row in insert_new(connection, charges, entries, ["key"])}
                told = [_told(entry) for entry in entries if entry["key"] in added]
                self._webhooks.note(connection, told, self._clock.now())
            else:
                insert_ignoring(connection, charges, entries)
            found = connection.execute(_BY_KEYS, {"keys": keys})
            return {row.key: _outcome(row) for row in found}

        entered = await self._books.write(enter)
        return [entered[key] for key in keys]


def _outcome(row: Any) -> Outcome:
    return Captured(row.amount_minor, row.currency) if row.outcome == CAPTURED else Declined(row.outcome)


def _told(entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The webhook about a charge that was entered."""
    taken = entry["outcome"] == CAPTURED
    money = {"key": entry["key"], "amount": entry["amount_minor"], "currency": entry["currency"]}
    return "charge.captured" if taken else "charge.declined", money


def _make_tables(connection: sa.Connection) -> None:
    wait_for_other_migrations(connection)
    _books.create_all(connection)
