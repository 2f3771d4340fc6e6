"""Redis' own plain client, for tests that look at what is really there, or write as somebody else would."""

import json
import shutil
import subprocess
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

TIMEOUT_S = 10


class RedisCli:
    """`redis-cli` on the server that a broker URL names, under that URL's prefix."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = urlunsplit(parts._replace(query=""))
        program = shutil.which("redis-cli")
        if program is None:
            pytest.skip("redis-cli is not on this machine")
        self._program = program

    def __call__(self, *words: str | bytes | int) -> Any:
        """The reply to a command; a refusal fails the test."""
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        return json.loads(self._run(b"--json", *encoded))

    def somebody_waits(self) -> bool:
        """Whether a client is in a command that blocks."""
        return b"blocked_clients:0" not in self._run(b"INFO", b"clients")

    def _run(self, *words: bytes) -> bytes:
        command = [self._program.encode(), b"-e", b"-u", self._url.encode(), *words]
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout
