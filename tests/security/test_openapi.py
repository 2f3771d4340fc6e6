"""The API does what its OpenAPI document says: Schemathesis tries all of it, at the gateway, as an administrator."""

import asyncio
import sys

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)
PARTS = ("/(orders|payments|webhooks)", "/(products|stock|reservations|warehouses|check-availability)")
"""Tried side by side, with whatever is in none of them: each waits for answers most of the time."""


def command(url: str, token: str, part: list[str]) -> list[str]:
    """One run of Schemathesis over a part of the paths."""
    options = {
        "--header": f"Authorization: Bearer {token}",
        "--checks": ",".join(CHECKS),
        "--phases": "coverage,fuzzing",
        "--max-examples": "2",
        "--seed": "1",
    }
    start = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    flat = [word for option in options.items() for word in option]
    return [*start, f"{url}/openapi.json", *flat, *part, "--no-color"]


async def tried(line: list[str]) -> tuple[int | None, str]:
    """(exit code, what it printed) of a command."""
    run = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await run.communicate()
    return run.returncode, output.decode()


async def test_schemathesis_finds_no_5xx_and_no_undocumented_answer(shop: Shop) -> None:
    url, token = shop.url("gateway"), await shop.token("admin")
    # A stream has no end that a tool could wait for.
    parts = [["--include-path-regex", part, "--exclude-path-regex", "/stream$"] for part in PARTS]
    parts.append(["--exclude-path-regex", "|".join(PARTS)])
    runs = await asyncio.gather(*(tried(command(url, token, part)) for part in parts))
    for code, output in runs:
        assert code == 0, output[-6000:]
        assert "Tested:" in output
