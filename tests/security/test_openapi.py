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


async def test_schemathesis_finds_no_5xx_and_no_undocumented_answer(shop: Shop) -> None:
    command = [
        sys.executable,
        "-c",
        "from schemathesis.cli import schemathesis; schemathesis()",
        "run",
        f"{shop.url('gateway')}/openapi.json",
        "--header",
        f"Authorization: Bearer {await shop.token('admin')}",
        "--checks",
        ",".join(CHECKS),
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "2",
        "--seed",
        "1",
        "--exclude-path-regex",
        "/stream$",
        "--no-color",
    ]
    run = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()[-6000:]
