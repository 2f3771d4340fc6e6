"""Several processes under one: they end with it, however it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orderwright.services import PORTS
from tests.brokers import broker_url
from tools.backends.server import free_port

WITHIN_S = 60.0
STARTED = re.compile(r"process_started +.*?pid=(\d+)")


class Supervised:
    """A supervisor with two services in processes of their own."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.log = folder / "output.log"
        ports = {f"ORDERWRIGHT_{name.upper()}_PORT": str(free_port()) for name in PORTS}
        environment = {
            **os.environ,
            **ports,
            "ORDERWRIGHT_DATA_DIR": str(folder),
            "ORDERWRIGHT_BROKER_URL": broker,
            "ORDERWRIGHT_STOP_TIMEOUT_S": "2",
            "NO_COLOR": "1",
        }
        command = [sys.executable, "-m", "orderwright.cli.main", "run", "catalog", "shipping", "--separate"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @property
    def children(self) -> set[int]:
        return {int(pid) for pid in STARTED.findall(re.sub(r"\x1b\[[0-9;]*m", "", self.text))}

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for `condition`."""
        give_up_s = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < give_up_s, f"it did not come true that {what}:\n{self.text}"
            time.sleep(0.05)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    opened = Supervised(tmp_path, broker_url("redis"))
    try:
        opened.until(lambda: opened.text.count("is up after") == 2, "both services are up")
        yield opened
    finally:
        for pid in (opened.process.pid, *opened.children):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        opened.process.wait()


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie that only waits to be buried."""
    try:
        return b"orderwright" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def test_children_stop_cleanly_when_their_supervisor_is_killed(supervised: Supervised) -> None:
    supervised.process.kill()
    supervised.process.wait()
    supervised.until(lambda: not any(map(alive, supervised.children)), "the children have ended")
    assert supervised.text.count("Stopped.") == 2, supervised.text


def test_a_stop_reaches_every_child_and_is_no_failure(supervised: Supervised) -> None:
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.wait(WITHIN_S) == 0, supervised.text
    assert not any(map(alive, supervised.children))
    assert supervised.text.count("Stopped.") == 2, supervised.text


def test_a_child_that_dies_is_started_again(supervised: Supervised) -> None:
    first = min(supervised.children)
    os.kill(first, signal.SIGKILL)
    supervised.until(lambda: supervised.text.count("is up after") == 3, "the child is up again")
    assert len(supervised.children) == 3
