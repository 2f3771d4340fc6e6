"""The browser that tests look at pages with: the system's Chromium, which reaches this machine and nothing else."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, async_playwright

from tests.databases import REQUIRED

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"


class Visit:
    """A page, and what it did while it was looked at."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        """What the browser found wrong: errors and warnings of its console, exceptions, requests that failed."""
        self.asked: list[str] = []
        """The address of every request that it made, or tried to make."""
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", lambda request: self.complaints.append(f"{request.url}: {request.failure}"))
        page.on("request", lambda request: self.asked.append(request.url))

    def strangers(self, home: str) -> set[str]:
        """Hosts other than that of `home` that it asked; what is in the page itself (`data:`) asks nobody."""
        own = {urlsplit(home).netloc, ""}
        return {urlsplit(url).netloc for url in self.asked} - own


@asynccontextmanager
async def visit() -> AsyncIterator[Visit]:
    """An empty page in a new browser; skips where there is no Chromium, or fails where everything is required."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None and os.environ.get(REQUIRED):
        pytest.fail("A browser is required here, and there is none; Debian: apt install chromium")
    if program is None:
        pytest.skip("Chromium was not found; Debian: apt install chromium")
    # Chromium refuses to set up its sandbox for root.
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=[ONLY_HERE, *sandbox])
        try:
            yield Visit(await browser.new_page())
        finally:
            await browser.close()
