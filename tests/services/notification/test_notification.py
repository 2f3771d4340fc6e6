"""What customers are told: once, in the right words, by a real mail server that is sometimes unwell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from fastapi import FastAPI

from orderwright.contracts.orders import OrderCancelled, OrderCompleted, OrderCreated, OrderLine
from orderwright.contracts.payments import PaymentRefunded
from orderwright.kernel.testing import ServiceBench
from orderwright.services.notification.manifest import assemble

CONFIRMED = OrderCompleted(order_id="o", payment_id="p")
CREATED = OrderCreated(
    order_id="o",
    user_id="customer-1",
    items=[OrderLine(product_id="mug", quantity=2, price=Decimal("12.50"))],
    total_amount=Decimal("25.00"),
)


class Mailbox:
    """An SMTP server's handler; `answers` are given instead of taking the mail, one each."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answers: list[str] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address.startswith("nobody"):
            return "550 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default)))
        return "250 OK"


def order_service() -> FastAPI:
    """The order service, as far as it is asked here."""
    order = FastAPI()

    @order.get("/contacts")
    async def contacts() -> Any:
        return [{"order_id": "o", "customer_id": "customer-1", "name": None, "email": None, "phone": None}]

    return order


async def known_people() -> Any:
    """What identity answers."""
    return [{"customer_id": "customer-1", "name": "Ada", "email": "ada@example.com", "phone": None}]


@asynccontextmanager
async def on_the_bench(folder: Path) -> AsyncIterator[ServiceBench]:
    """The service, with peers that know whom to write to."""
    async with ServiceBench.open(assemble, "notification", folder, peers={"order": order_service()}) as bench:
        bench.keys.identity.add_api_route("/contacts", known_people)
        yield bench


@asynccontextmanager
async def opened(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[ServiceBench, Mailbox]]:
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox, enable_SMTPUTF8=True), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    patch.setenv("ORDERWRIGHT_NOTIFICATION_SMTP_URL", f"smtp://127.0.0.1:{port}")
    try:
        async with on_the_bench(folder) as bench:
            yield bench, mailbox
    finally:
        server.close()
        await server.wait_closed()


async def told(bench: ServiceBench) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await bench.request("GET", "/notifications", query="order_id=o")).json
    return listed


async def test_a_confirmation_is_sent_once_in_the_customers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as (bench, mailbox):
        await bench.hear(CONFIRMED)
        await bench.hear(CREATED, CONFIRMED)
        for _ in range(2):
            await bench.run_job("send")
        [(recipients, mail)] = mailbox.mails
        assert recipients == ["ada@example.com"]
        assert mail["Subject"] == "Your order o is confirmed"
        body = mail.get_content()
        assert "Hello Ada" in body
        assert "2 x mug at 12.50 USD" in body
        assert "Total: 25.00 USD" in body
        [notification] = await told(bench)
        assert mail["Message-ID"] == f"<{notification['id']}@orderwright>"
        assert (notification["status"], notification["recipient"]) == ("sent", "ada@example.com")


async def test_a_server_that_is_unwell_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path, monkeypatch) as (bench, mailbox):
        mailbox.answers = ["451 Try again", "451 Try again"]
        await bench.hear(CREATED, CONFIRMED)
        await bench.run_job("send")
        assert [(n["status"], n["attempts"]) for n in await told(bench)] == [("queued", 1)]
        for _ in range(2):
            bench.clock.advance(300)
            await bench.run_job("send")
        assert [(n["status"], n["attempts"]) for n in await told(bench)] == [("sent", 2)]
        assert len(mailbox.mails) == 1


async def test_a_mailbox_that_does_not_exist_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path, monkeypatch) as (bench, mailbox):
        body = {"recipient": "nobody@example.com", "subject": "Hi", "body": "there"}
        written = await bench.request("POST", "/notifications/email", body, roles=("staff",))
        assert (written.status, written.json["status"]) == (201, "queued")
        await bench.run_job("send")
        seen = await bench.request("GET", f"/notifications/{written.json['id']}", roles=("staff",))
        assert (seen.json["status"], "550" in seen.json["error"]) == ("failed", True)
        assert mailbox.mails == []


async def test_without_a_server_messages_are_kept_and_sent_when_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_the_bench(tmp_path) as bench:
        await bench.hear(CREATED, CONFIRMED)
        for _ in range(3):
            await bench.run_job("send")
            bench.clock.advance(3600)
        [kept] = await told(bench)
        assert (kept["status"], kept["recipient"], kept["attempts"]) == ("queued", "ada@example.com", 0)
        assert "Total: 25.00 USD" in kept["body"]
    async with opened(tmp_path, monkeypatch) as (bench, mailbox):
        await bench.run_job("send")
        assert len(mailbox.mails) == 1


async def test_a_cancellation_is_told_once_and_every_refund_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as (bench, mailbox):
        cancelled = OrderCancelled(order_id="o", reason="customer_request")
        await bench.hear(CREATED, cancelled)
        await bench.hear(cancelled)
        for amount in ("5.00", "20.00"):
            await bench.hear(PaymentRefunded(payment_id="p", order_id="o", amount=Decimal(amount)))
        await bench.run_job("send")
        subjects = [mail["Subject"] for _, mail in mailbox.mails]
        assert sorted(subjects) == ["A refund for your order o"] * 2 + ["Your order o is cancelled"]


async def test_staff_choose_the_words_and_bad_ones_keep_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as (bench, mailbox):
        path = "/templates/order_confirmation"
        bad = await bench.request("PUT", path, {"subject": "x", "body": "{% if %}"}, roles=("staff",))
        assert (bad.status, "line 1" in bad.json["detail"]) == (422, True)
        good = {"subject": "Thanks, {{ name }}!", "body": "{{ 1 / 0 }}"}
        assert (await bench.request("PUT", path, good, roles=("staff",))).status == 200
        await bench.hear(CREATED, CONFIRMED)
        await bench.run_job("send")
        assert mailbox.mails[0][1]["Subject"] == "Your order o is confirmed"
        escape = {"subject": "x", "body": "{{ ''.__class__.__mro__[1].__subclasses__() }}", "context": {}}
        tried = await bench.request("POST", f"{path}/preview", escape, roles=("staff",))
        assert tried.status == 422


async def test_a_customer_sees_their_own_also_before_it_is_sent(tmp_path: Path) -> None:
    async with on_the_bench(tmp_path) as bench:
        await bench.hear(CREATED, CONFIRMED)
        [queued] = await told(bench)
        path = f"/notifications/{queued['id']}"
        assert (await bench.request("GET", path)).status == 200
        assert (await bench.request("GET", path, caller="somebody-else")).status == 404


async def test_a_line_break_in_an_address_is_refused(tmp_path: Path) -> None:
    async with on_the_bench(tmp_path) as bench:
        for recipient in ("a@b.c\nBcc: d@e.f", "a@b.c\r\n", "no address"):
            body = {"recipient": recipient, "subject": "x", "body": "y"}
            assert (await bench.request("POST", "/notifications/email", body, roles=("staff",))).status == 422
