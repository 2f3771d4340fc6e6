"""Runs services in this process until it is told to stop.

Invariant: SIGINT and SIGTERM stop it cleanly (no new work, finish, acknowledge, close); a second one stops it at once.
The end of the process that started it, where that gave it a lifeline, stops it cleanly too.
"""

import asyncio
import gc
import os
import signal
import sys

import structlog
from rich.console import Console

from orderwright.audit.watch import watching
from orderwright.cli import goods
from orderwright.cli.console import open_console
from orderwright.kernel.clock import SystemClock
from orderwright.kernel.platform import GATEWAY, Plan, Platform
from orderwright.kernel.settings import PlatformSettings
from orderwright.kernel.telemetry import configure_logs

log = structlog.get_logger(__name__)

OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""Python's own 700 has its collector look at every few requests; a request leaves little behind that needs one."""
HELD_S = 0.02
"""So long a thread may run while another one waits for its turn. With Python's own 5 ms, threads that write SQLite take
turns with the one that answers customers so often that all of them are slower (docs/decisions/0001)."""


async def run_until_stopped(
    plan: Plan, settings: PlatformSettings, *, demo: bool = False, lifeline: int | None = None
) -> None:
    """Run what `plan` says, and stop when a signal says so, or the end of the pipe whose descriptor `lifeline` is."""
    configure_logs(form=settings.log_format, level=settings.log_level)
    clock, console = SystemClock(), open_console()
    began_s = clock.monotonic_s()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, loop, number, stop)
    if lifeline is not None:
        loop.add_reader(lifeline, _on_lifeline, loop, lifeline, stop)
    if demo:
        goods.prepare(os.environ)
    platform = Platform(plan, settings)
    if demo:
        goods.check_loopback(platform)
    await platform.start()
    logins = await goods.stock_up(platform) if demo else None
    _welcome(console, platform, logins, clock.monotonic_s() - began_s)
    # Several hundred thousand objects that the platform is made of, and that stay: nobody should look them through.
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    sys.setswitchinterval(HELD_S)
    async with watching(platform, clock):
        await stop.wait()
    console.print("Stopping: finishing what was begun …")
    await platform.stop()
    console.print("Stopped.")


def _on_signal(loop: asyncio.AbstractEventLoop, number: signal.Signals, stop: asyncio.Event) -> None:
    stop.set()
    # The next one of its kind is not caught any more.
    loop.remove_signal_handler(number)


def _on_lifeline(loop: asyncio.AbstractEventLoop, lifeline: int, stop: asyncio.Event) -> None:
    # Nobody ever writes into it: it becomes readable when the last one who could is gone.
    loop.remove_reader(lifeline)
    os.close(lifeline)
    log.warning("supervisor_gone")
    stop.set()


def _welcome(console: Console, platform: Platform, logins: dict[str, dict[str, str]] | None, took_s: float) -> None:
    console.print(f"\n[bold]orderwright[/bold] is up after {took_s:.1f} s. Data: {platform.settings.data_dir}")
    for name, door in platform.doors.items():
        console.print(f"  {name:<13}{door.address}")
    if logins is None:
        return
    show_logins(logins, console)
    if GATEWAY in platform.doors:
        console.print(
            f"\nYour first order; paste it:\n{first_order(platform.doors[GATEWAY].address, logins)}\n",
            markup=False,
        )
    console.print("Ctrl-C stops it; starting it again finds everything.")


def show_logins(logins: dict[str, dict[str, str]], console: Console | None = None) -> None:
    """Print who can log in with what."""
    console = console or open_console()
    console.print("\nLogins (demo only):")
    for role, login in logins.items():
        console.print(f"  {role:<10}{login['email']:<24}{login['password']}")


def first_order(gateway: str, logins: dict[str, dict[str, str]]) -> str:
    """A command that logs the demo customer in and places an order."""
    customer = logins["customer"]
    body = f'{{"email": "{customer["email"]}", "password": "{customer["password"]}"}}'
    order = (
        '{"items": [{"product_id": "product-123", "quantity": 2}], "payment_method": {"type": "credit_card", '
        '"card_number": "4111111111111111", "expiry": "12/35", "cvv": "123"}}'
    )
    return (
        f"TOKEN=$(curl -s {gateway}/api/v1/login -H 'Content-Type: application/json' -d '{body}' "
        "| python3 -c 'import json,sys; print(json.load(sys.stdin)[\"access_token\"])')\n"
        f'curl -s {gateway}/api/v1/orders -H "Authorization: Bearer $TOKEN" '
        f"-H 'Content-Type: application/json' -d '{order}'"
    )
