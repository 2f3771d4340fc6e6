"""Which Python `make` takes for .venv: the first on the PATH, or a build of its version that is clearly quicker."""

import os
import subprocess
import sys
from pathlib import Path

from tools.quickest_python import quickest, timings_of


def test_the_first_build_stays_when_the_others_are_hardly_quicker() -> None:
    assert quickest([("/first/python3", 0.0070), ("/second/python3", 0.0066)]) == "/first/python3"


def test_a_build_that_is_clearly_quicker_is_taken() -> None:
    assert quickest([("/first/python3", 0.0070), ("/second/python3", 0.0049)]) == "/second/python3"


def test_only_working_builds_of_one_version_are_compared(tmp_path: Path) -> None:
    _python(tmp_path / "a" / "python3", "echo command not found >&2; exit 127")
    _python(tmp_path / "a" / "python3.13", "echo 3.13 0.004 /version/manager/python3.13")
    _python(tmp_path / "b" / "python3", "echo 3.11 0.007 /version/manager/python3")
    _python(tmp_path / "b" / "python3.11", "echo 3.11 0.007 /version/manager/python3")
    _python(tmp_path / "b" / "python3.13", "echo 3.13 0.004 /version/manager/python3.13")
    _python(tmp_path / "d" / "python3", "echo 3.13 0.004 /another/python3")
    _python(tmp_path / "b" / "python3-config", "echo 3.11 0.001 /not/a/python")
    _python(tmp_path / "c" / "python3", "echo 3.11 0.005 /of/the system/python3")
    path = os.pathsep.join(str(tmp_path / name) for name in ("missing", "a", "b", "c", "d"))

    assert timings_of(path, "3.11") == [("/version/manager/python3", 0.007), ("/of/the system/python3", 0.005)]


def test_it_names_a_python_of_this_version_outside_of_virtual_environments(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    script = Path(__file__).parents[2] / "tools" / "quickest_python.py"
    asked = subprocess.run(
        [sys.executable, script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    question = "import sys; print(sys.version_info[:2] == tuple(map(int, sys.argv[1:])), sys.prefix == sys.base_prefix)"
    version = map(str, sys.version_info[:2])
    told = subprocess.run([asked.stdout.strip(), "-c", question, *version], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "True"]


def _python(path: Path, does: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
