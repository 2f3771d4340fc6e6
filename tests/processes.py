"""The platform as it runs in production: every service in processes of its own, on PostgreSQL and a real broker.

A shop may be shared by many stories; between two of them it is tidied up through its own routes.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest

from orderwright.cli.operate import load_demo
from orderwright.kernel.broker import Broker
from orderwright.kernel.brokers import open_broker
from orderwright.kernel.settings import PlatformSettings
from orderwright.services import PORTS
from tests.brokers import broker_url
from tests.databases import fresh_databases
from tests.shop import Shop, until
from tools.backends.server import free_port

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
FULL = {"product-123": ("29.99", 500), "product-456": ("19.99", 500), "product-789": ("9.99", 50)}
OPEN = ("pending", "awaiting_payment", "confirmed")


class Copy:
    """One process of a service."""

    def __init__(self, service: str, environment: dict[str, str], log: Path, arguments: Sequence[str] = ()) -> None:
        self.service = service
        self.port = free_port()
        self._environment = {**os.environ, **environment, f"ORDERWRIGHT_{service.upper()}_PORT": str(self.port)}
        self._command = [sys.executable, "-m", "orderwright.cli.main", "run", service, *arguments]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, also: dict[str, str] | None = None) -> None:
        """Begin; `until_ready` waits for it."""
        self._environment |= also or {}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def until_ready(self) -> None:
        """Wait until it says that it can work."""
        assert self._process is not None
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if httpx2.get(f"{self.url}/health", trust_env=False, timeout=5).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            if self._process.poll() is not None or time.monotonic() > give_up_s:
                raise AssertionError(f"{self.service} did not come up; its log ends:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.1)

    def signal(self, number: signal.Signals) -> None:
        """Tell the process something."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, with nothing finished."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End it as an operator does; the exit has to be a clean one."""
        if self._process is None or self._process.poll() is not None:
            return
        self.signal(signal.SIGTERM)
        assert self.wait() == 0, f"{self.service} did not stop cleanly; its log ends:\n{self._log.read_text()[-4000:]}"

    def wait(self) -> int:
        """Wait for its end."""
        assert self._process is not None
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Processes:
    """Every service in `copies` processes of its own."""

    def __init__(self, folder: Path, database: str, broker: str, *, copies: int = 1, **settings: str) -> None:
        self.folder = folder
        self.broker_url = broker
        self.settings = PlatformSettings(data_dir=folder, database_url=database)
        self._common = {
            "ORDERWRIGHT_DATA_DIR": str(folder),
            "ORDERWRIGHT_DATABASE_URL": database,
            "ORDERWRIGHT_BROKER_URL": broker,
            "ORDERWRIGHT_LOG_LEVEL": "warning",
            "ORDERWRIGHT_STOP_TIMEOUT_S": "5",
            **settings,
        }
        self.copies = {
            service: [Copy(service, self._common, folder / f"{service}-{n}.log") for n in range(copies)]
            for service in PORTS
        }
        self.logins: dict[str, dict[str, str]] = {}

    def start(self) -> None:
        """Start everything, with the demo's goods in it."""
        where = {
            f"ORDERWRIGHT_{service.upper()}_URL": ",".join(copy.url for copy in copies)
            for service, copies in self.copies.items()
        }
        everyone = [copy for copies in self.copies.values() for copy in copies]
        # The first one of all makes the secret that the others share.
        for copy in everyone[:1]:
            copy.start(where)
            copy.until_ready()
        for copy in everyone[1:]:
            copy.start(where)
        for copy in everyone[1:]:
            copy.until_ready()
        with pytest.MonkeyPatch.context() as environment:
            for name, value in self._common.items():
                environment.setenv(name, value)
            self.logins = asyncio.run(load_demo(self.settings))

    def stop(self) -> None:
        """Stop everything; the gateway first, so that nobody asks who is no longer there."""
        for service in reversed(list(self.copies)):
            for copy in self.copies[service]:
                copy.stop()

    def address(self, service: str) -> str:
        return self.copies[service][0].url

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Broker]:
        async with open_broker(self.broker_url) as opened:
            yield opened

    @contextmanager
    def away(self, service: str) -> Iterator[None]:
        for copy in self.copies[service]:
            copy.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for copy in self.copies[service]:
                copy.signal(signal.SIGCONT)


@contextmanager
def processes(folder: Path, broker: str, *, copies: int = 1, **settings: str) -> Iterator[Processes]:
    """The platform on PostgreSQL and a broker of that kind, with nothing in it but the demo's goods."""
    with fresh_databases("postgres", folder) as database:
        running = Processes(folder, database, broker_url(broker), copies=copies, **settings)
        try:
            running.start()
            yield running
            running.stop()
        finally:
            for copies_ in running.copies.values():
                for copy in copies_:
                    if copy._process is not None and copy._process.poll() is None:
                        copy.kill()


async def tidy_up(shop: Shop) -> None:
    """As the shop was when it opened: nothing is on its way, the shelves are full, the customer is a new one."""
    for status in OPEN:
        for order in await _orders(shop, status):
            await shop.call("order", "PUT", f"/orders/{order}/cancel", role="staff")
    for product, (price, quantity) in FULL.items():
        await until(partial(_nothing_reserved, shop, product), f"nothing of {product} is reserved")
        filled = await shop.call("inventory", "PUT", f"/products/{product}/stock", {"on_hand": quantity}, role="staff")
        priced = await shop.call("catalog", "PUT", f"/products/{product}", {"price": price}, role="staff")
        assert (filled.status_code, priced.status_code) == (200, 200), filled.text + priced.text
        await until(partial(_costs, shop, product, price), f"{product} costs {price}")
    await shop.register("customer")


async def _orders(shop: Shop, status: str) -> list[str]:
    found = (await shop.call("order", "GET", f"/orders?status={status}&limit=100", role="staff")).json()["items"]
    return [order["id"] for order in found]


async def _nothing_reserved(shop: Shop, product: str) -> bool:
    return bool((await shop.stock(product))["reserved"] == 0)


async def _costs(shop: Shop, product: str, price: str) -> bool:
    """Asked by an order that expects another price, which is refused and names the right one."""
    line = {"product_id": product, "quantity": 1, "unit_price": "0.01"}
    answer = await shop.call("order", "POST", "/orders", {"items": [line]}, role="staff")
    assert answer.status_code == 409, answer.text
    return bool(answer.json()["unit_price"] == price)
