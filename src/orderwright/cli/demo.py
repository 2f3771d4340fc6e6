"""One order, from log-in to its end, with every step, event and state as it happens.

It talks to a running demo through the gateway, like any client; where none answers it starts a platform of its own.
"""

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from orderwright.cli import goods
from orderwright.cli.console import open_console
from orderwright.cli.plan import make_plan
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.platform import GATEWAY, Platform
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import configure_logs
from orderwright.services import PORTS

CARD = {"type": "credit_card", "card_number": "4111111111111111", "expiry": "12/35", "cvv": "123"}
ENDS = {"order_completed", "order_cancelled"}
PATIENCE_S = 20.0


async def show_one_order(url: str) -> None:
    """Place an order and print what becomes of it."""
    console = open_console()
    async with _somewhere(url, console) as (gateway, logins):
        patience = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE_S, sock_read=PATIENCE_S)
        async with aiohttp.ClientSession(f"{gateway}/api/v1/", timeout=patience) as client:
            await _tell_the_story(client, logins, console)


@asynccontextmanager
async def _somewhere(url: str, console: Console) -> AsyncIterator[tuple[str, dict[str, dict[str, str]]]]:
    settings = PlatformSettings()
    logins = goods.read_logins(settings.data_dir / goods.LOGINS_FILE)
    if logins is not None and await _answers(url):
        console.print(f"Using the platform at {url}.")
        yield url, logins
        return
    configure_logs(form="console", level="error")
    with tempfile.TemporaryDirectory() as folder:
        console.print("No running demo here; starting a platform just for this …")
        own = settings.model_copy(update={"data_dir": Path(folder), "database_url": None})
        platform = Platform(make_plan(list(PORTS), own, ports={}), own)
        goods.check_loopback(platform)
        await platform.start()
        try:
            yield platform.doors[GATEWAY].address, await goods.stock_up(platform)
        finally:
            await platform.stop()


async def _answers(url: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as client,
            client.get(f"{url}/health") as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _tell_the_story(client: aiohttp.ClientSession, logins: dict[str, dict[str, str]], console: Console) -> None:
    clock = SystemClock()
    tokens = await _json(client, "POST", "login", logins["customer"])
    console.print(f"\n[bold]1.[/bold] Logged in as {logins['customer']['email']}.")
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    stock = await _json(client, "GET", "products/product-123/stock")
    console.print(f"[bold]2.[/bold] Of product-123 there are {stock['available']} to be had.")
    began_s = clock.monotonic_s()
    order = await _json(
        client, "POST", "orders", {"items": [{"product_id": "product-123", "quantity": 2}], "payment_method": CARD}
    )
    console.print(
        f"[bold]3.[/bold] Ordered two of them, to be paid by card: order {order['id']}, {order['total_amount']} "
        f"{order['currency']}, {order['status']} after {_ms(clock, began_s)}."
    )
    console.print("[bold]4.[/bold] What happens to it:")
    await _follow(client, order["id"], console, clock, began_s)
    saga = await _json(client, "GET", f"orders/{order['id']}/saga")
    steps = ", ".join(f"{step['name']} {step['status']}" for step in saga["steps"])
    console.print(f"[bold]5.[/bold] The saga is {saga['status']}: {steps}.")
    [payment] = await _json(client, "GET", f"payments/order/{order['id']}")
    console.print(
        f"[bold]6.[/bold] The payment: {payment['status']}, {payment['captured_amount']} {payment['currency']}."
    )
    after = await _json(client, "GET", "products/product-123/stock")
    console.print(f"[bold]7.[/bold] The stock: {stock['available']} before, {after['available']} now.\n")


async def _follow(
    client: aiohttp.ClientSession, order_id: str, console: Console, clock: SystemClock, began_s: float
) -> None:
    async with client.get(f"orders/{order_id}/stream", headers={"Last-Event-ID": "0"}) as stream:
        kind = ""
        async for line in stream.content:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data" and kind == "status":
                console.print(f"     {_ms(clock, began_s):>8}  status is [bold]{json.loads(value)['status']}[/bold]")
            elif name == "data":
                console.print(f"     {_ms(clock, began_s):>8}  {kind}")
                if kind in ENDS:
                    return


async def _json(client: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    async with client.request(method, path, json=body) as response:
        if response.status >= 400:
            raise RuntimeError(f"{method} {path} answered {response.status}: {await response.text()}")
        return await response.json()


def _ms(clock: SystemClock, began_s: float) -> str:
    return f"{(clock.monotonic_s() - began_s) * 1000:.0f} ms"
