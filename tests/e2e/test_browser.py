"""Pages as a browser sees them: they render, nothing in them fails, and they ask nobody but the host they came from."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from orderwright import __version__
from orderwright.kernel.platform import GATEWAY
from tests.browser import visit
from tests.shop import open_shop


@pytest.mark.parametrize(("service", "operation"), [(GATEWAY, "/api/v1/products"), ("catalog", "/products")])
async def test_the_docs_render_and_try_out_an_operation(tmp_path: Path, service: str, operation: str) -> None:
    async with open_shop(tmp_path) as shop, visit() as seen:
        await seen.page.goto(f"{shop.url(service)}/docs")
        block = seen.page.locator(".opblock-get").filter(has=seen.page.locator(f'[data-path="{operation}"]'))
        await block.locator(".opblock-summary").click()
        await block.get_by_role("button", name="Try it out").click()
        await block.get_by_role("button", name="Execute").click()
        await expect(block.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
        await expect(block.locator(".live-responses-table")).to_contain_text("product-123")
        assert seen.complaints == []
        assert seen.strangers(shop.url(service)) == set()


async def test_what_runs_in_the_docs_reaches_no_other_host(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, visit() as seen:
        await seen.page.goto(f"{shop.url(GATEWAY)}/docs")
        await expect(seen.page.locator(".opblock").first).to_be_visible()
        reached = await seen.page.evaluate(
            "url => fetch(url, {mode: 'no-cors'}).then(() => true, () => false)", f"{shop.url('catalog')}/health"
        )
        inline = await seen.page.evaluate(
            "() => { const s = document.createElement('script'); s.text = 'window.ran = true'; "
            "document.body.append(s); return window.ran === true }"
        )
    assert (reached, inline) == (False, False)
    for directive in ("connect-src 'self'", "script-src 'self'"):
        assert any("Content Security Policy" in said and directive in said for said in seen.complaints), directive


async def test_the_first_page_renders(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, visit() as seen:
        answer = await seen.page.goto(shop.url(GATEWAY))
        assert answer is not None
        assert (answer.status, __version__ in await seen.page.inner_text("body")) == (200, True)
        assert (seen.complaints, seen.strangers(shop.url(GATEWAY))) == ([], set())
