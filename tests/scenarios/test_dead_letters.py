"""A fault holds up what a customer is told of an order; staff settle it, and the story goes on in its order."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from orderwright.cli.main import app
from orderwright.kernel.database import open_database
from tests.shop import GOOD_CARD, Shop, until

JAMS = {
    "sqlite": (
        """CREATE TRIGGER jam BEFORE INSERT ON notifications WHEN NEW.type = 'order_confirmation'
        BEGIN SELECT RAISE(ABORT, 'the printer is jammed'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION jammed() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the printer is jammed'; END $$""",
        """CREATE TRIGGER jam BEFORE INSERT ON notifications FOR EACH ROW
        WHEN (NEW.type = 'order_confirmation') EXECUTE FUNCTION jammed()""",
    ),
}
MENDS = {"sqlite": ("DROP TRIGGER IF EXISTS jam",), "postgresql": ("DROP FUNCTION IF EXISTS jammed CASCADE",)}
LETTERS = "/api/v1/dead-letters/notification"


async def do_in_notifications(shop: Shop, statements: Mapping[str, Sequence[str]]) -> None:
    """Change something in the notification service's database, in the words of its dialect."""

    def work(connection: sa.Connection) -> None:
        for statement in statements[connection.dialect.name]:
            connection.exec_driver_sql(statement)

    database = open_database(shop.premises.settings["ORDERWRIGHT_DATABASE_URL"], "notification")
    await database.write(work)
    await database.close()


@pytest.fixture(autouse=True)
async def mended(shop: Shop) -> AsyncIterator[None]:
    """Whatever happens, others find the notifications as they were."""
    yield
    await do_in_notifications(shop, MENDS)


Command = Callable[..., Awaitable[str]]


@pytest.fixture
def command(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """What `orderwright dead-letters …` prints, on the databases of the running platform."""
    for name, value in shop.premises.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "300")

    async def run(*words: str) -> str:
        function, arguments, _ = app.parse_args(["dead-letters", *words])
        await function(*arguments.args, **arguments.kwargs)
        return capsys.readouterr().out

    return run


async def in_a_process_of_its_own(*words: str) -> str:
    """The same from outside of the platform's process."""
    line = [sys.executable, "-m", "orderwright.cli.main", "dead-letters", *words]
    run = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()
    return output.decode()


async def told(shop: Shop, order_id: str) -> list[str]:
    """What the customer was told of an order, in that order."""
    answer = await shop.call("notification", "GET", f"/notifications?order_id={order_id}", role="staff")
    return [notification["type"] for notification in answer.json()]


async def kept(shop: Shop, order_id: str) -> list[dict[str, Any]]:
    """What of an order is kept, the oldest first, as staff see it through the gateway."""
    answer = await shop.call("gateway", "GET", f"{LETTERS}?key={order_id}", role="staff")
    assert answer.status_code == 200, answer.text
    letters: list[dict[str, Any]] = answer.json()["items"]
    return letters[::-1]


async def shipped_while_jammed(shop: Shop) -> str:
    """An order that was completed and shipped while no confirmation could be written."""
    await do_in_notifications(shop, JAMS)
    order_id: str = (await shop.order([("product-123", 1)], payment_method=GOOD_CARD))["id"]
    await shop.until_order_is(order_id, "completed")
    await shop.until_heard("order.completed", order_id)
    shipments: list[dict[str, Any]] = []

    async def prepared() -> bool:
        answer = await shop.call("shipping", "GET", f"/shipments?order_id={order_id}", role="staff")
        shipments[:] = answer.json()["items"]
        return bool(shipments) and bool(await kept(shop, order_id))

    await until(prepared, "there is a shipment, and a message that is kept")
    body = {"carrier": "dhl", "tracking_number": "T-1"}
    shipping = await shop.call("shipping", "POST", f"/shipments/{shipments[0]['id']}/ship", body, role="staff")
    assert shipping.status_code == 200, shipping.text

    async def parked() -> bool:
        states = [(letter["event"], letter["state"]) for letter in await kept(shop, order_id)]
        return states == [("OrderCompleted", "retrying"), ("OrderShipped", "parked")]

    await until(parked, "what was shipped waits behind what was completed")
    return order_id


async def test_staff_let_an_orders_story_go_on(shop: Shop) -> None:
    order_id = await shipped_while_jammed(shop)
    other = await shop.order([("product-456", 1)])
    await shop.call("order", "PUT", f"/orders/{other['id']}/cancel")
    completed, _ = await kept(shop, order_id)
    path = f"{LETTERS}/{completed['id']}"

    async def others_go_on() -> bool:
        return "order_cancelled" in await told(shop, other["id"])

    await until(others_go_on, "another order's customer is told of it")
    assert (await shop.call("gateway", "GET", path)).status_code == 403
    shown = (await shop.call("gateway", "GET", path, role="staff")).json()
    assert (shown["order_id"], shown["waiting_behind"], shown["trace_id"] is None) == (order_id, 1, False)
    would = (await shop.call("gateway", "POST", f"{path}/replay", {"dry_run": True}, role="staff")).json()
    assert (would["outcome"], "the printer is jammed" in would["detail"]) == ("failed", True)
    assert await told(shop, order_id) == []
    settled = await shop.call("gateway", "POST", f"{path}/discard", {"reason": "told by phone"}, role="staff")
    assert (settled.status_code, settled.json()["state"]) == (200, "discarded")

    async def goes_on() -> bool:
        return await told(shop, order_id) == ["order_shipped"] and await kept(shop, order_id) == []

    await until(goes_on, "the customer is told that it was shipped")


async def test_the_command_line_does_the_same_beside_a_running_platform(shop: Shop, command: Command) -> None:
    order_id = await shipped_while_jammed(shop)
    completed, shipped = await kept(shop, order_id)
    listed = await command("list", "notification", "--key", order_id)
    assert [word in listed for word in (completed["id"], shipped["id"], "parked", "retrying")] == [True] * 4
    assert "Nothing of that kind" in await command("list", "--key", order_id, "--state", "dead")
    assert f"list notification --before {shipped['id']}" in await command("list", "--key", order_id, "--limit", "1")
    would = await command("replay", completed["id"], "--dry-run")
    assert "would fail" in would
    assert "the printer is jammed" in would
    done = await command("discard", completed["id"], "--reason", "told by phone", "--as", "grace")
    assert "discarded" in done
    await do_in_notifications(shop, MENDS)
    replayed = await in_a_process_of_its_own("replay", completed["id"], "--as", "ada")
    assert f"{completed['id']}  notification  handled" in replayed

    async def told_all() -> bool:
        return sorted(await told(shop, order_id)) == ["order_confirmation", "order_shipped"]

    await until(told_all, "the customer was told everything")
    shown = await command("show", completed["id"])
    facts = (
        "state         handled",
        f"order         {order_id}",
        "by grace: discarded (told by phone)",
        "by ada: handled",
    )
    assert [fact for fact in facts if fact not in shown] == []
