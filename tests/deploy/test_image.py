"""The image keeps to the rules, and what it is made of starts, answers and stops."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderwright.services import PORTS
from tests.architecture.tree import ROOT
from tests.databases import REQUIRED
from tests.deploy.files import DEPLOY
from tests.deploy.recipe import Image, base_reachable, steps_of
from tools.backends.server import free_port

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
START_TIMEOUT_S = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other accounts may enter, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="orderwright-image-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_the_linter_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint is not installed here; `make setup` brings it")
    done = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_is_pinned_unprivileged_and_keeps_no_secret() -> None:
    steps = steps_of(DOCKERFILE)
    assert all(re.search(r":\d+\.\d+\.\d+-", words) for what, words in steps if what == "FROM")
    (user,) = [words for what, words in steps if what == "USER"]
    uid, gid = map(int, user.split(":"))
    assert (uid, gid) > (1000, 1000)
    assert not {what for what, _ in steps} & {"ADD", "ARG"}
    assert not re.search(
        "secret|password|token", " ".join(words for what, words in steps if what == "ENV"), re.IGNORECASE
    )
    installs = [words for what, words in steps if what == "RUN" and " -r " in words]
    assert installs
    assert all(words.count("--require-hashes --only-binary :all:") == words.count(" -r ") for words in installs)


def test_the_last_stage_runs_nothing_and_takes_no_more_than_the_environment_and_the_data() -> None:
    *_, last = DOCKERFILE.split("FROM ")
    steps = steps_of("FROM " + last)
    assert not [words for what, words in steps if what == "RUN"]
    assert [words.split()[-1] for what, words in steps if what == "COPY"] == ["/opt/orderwright", "/data"]


def test_only_what_is_copied_reaches_the_builder() -> None:
    rules = (ROOT / ".dockerignore").read_text().split()
    assert "*" in rules
    copied = [words.split()[:-1] for what, words in steps_of(DOCKERFILE) if what == "COPY" and "--from" not in words]
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    wanted = {re.sub(r"/\w+\.txt$", "/*.txt", path) for paths in copied for path in paths}
    assert wanted == allowed


def test_its_steps_make_a_platform_that_starts_answers_and_stops(folder: Path) -> None:
    if not os.environ.get(REQUIRED):
        pytest.skip(f"it installs from the package registry, which takes a minute; {REQUIRED}=1 asks for it")
    image = Image(folder, ROOT)
    image.build(DOCKERFILE)
    if not base_reachable():
        image.kept["USER"] = f"{os.geteuid()}:{os.getegid()}"
    elsewhere = {f"ORDERWRIGHT_{name.upper()}_PORT": str(free_port()) for name in PORTS}
    variables = {
        **elsewhere,
        "ORDERWRIGHT_HOST": "127.0.0.1",
        "HEALTH_URL": image.environment["HEALTH_URL"].replace(":8000", f":{elsewhere['ORDERWRIGHT_GATEWAY_PORT']}"),
    }
    program = shutil.which(image.command[0], path=image.variables()["PATH"])
    assert program == str(image.root / "opt/orderwright/bin/orderwright")
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            image.as_user([program, *image.command[1:]]),
            env=image.variables(**variables),
            cwd=image.root / "data",
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_healthy(image, process, variables)
        assert _account_of(process.pid) == (image.user.partition(":")[0] if not os.geteuid() else str(os.geteuid()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, (folder / "output").read_text()
    finally:
        process.kill()
        process.wait()
    assert (image.root / "data/order.db").exists()
    assert not (image.root / "opt/orderwright/bin/pip").exists()


def _wait_until_healthy(image: Image, process: "subprocess.Popen[bytes]", variables: dict[str, str]) -> None:
    """Ask as the engine asks, until it says yes."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        check = subprocess.run(
            image.as_user(image.healthcheck), env=image.variables(**variables), capture_output=True, check=False
        )
        if check.returncode == 0:
            return
        told = (image.folder / "output").read_text()
        assert process.poll() is None, f"it ended:\n{told}"
        assert time.monotonic() < deadline_s, f"it did not become healthy:\n{told}"
        time.sleep(0.2)


def _account_of(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    return status.partition("Uid:")[2].split()[0]
