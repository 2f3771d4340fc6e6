"""Says which Python to make `.venv` with: of the builds of python3's version on the PATH, the quickest.

A Python that was built without `--enable-optimizations`, as version managers build it unless they are told otherwise,
takes up to half as long again for the same work as the one in a distribution or in the official images
(docs/decisions/0020). An installed Python does not say reliably how it was built, so each one is timed.

Only builds of python3's own version are looked at: whoever has another one on the PATH has it for something else. The
first on the PATH stays unless another is clearly quicker. Written for any Python 3, because an old one may start it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CLEARLY = 0.85
"""Another build has to do the same in so much of the time; two timings of one build differ by less than the rest."""
TIMEOUT_S = 20
PROBE = """
import sys, time
import ensurepip, venv

class Line:
    def __init__(self, number):
        self.number = number

    def total(self, price):
        return self.number * price

def timed():
    began_s, seen = time.process_time(), {}
    for number in range(20000):
        line = Line(number % 97)
        seen[f"{line.number}"] = seen.get(f"{line.number}", 0) + line.total(3)
    return time.process_time() - began_s

print("%d.%d" % sys.version_info[:2], min(timed() for _ in range(9)), getattr(sys, "_base_executable", sys.executable))
"""
"""Says its version, how long the same work takes, and where it is; fails where no virtual environment can be made."""


def quickest(timings: list[tuple[str, float]]) -> str:
    """Of builds and what each took the first, or the quickest when that takes clearly less."""
    first, first_took_s = timings[0]
    build, took_s = min(timings, key=lambda one: one[1])
    return build if took_s < CLEARLY * first_took_s else first


def timings_of(path: str, version: str) -> list[tuple[str, float]]:
    """The builds of that version (`3.11`) that a PATH has, in its order, and what each took."""
    timings: dict[Path, tuple[str, float]] = {}
    for folder in map(Path, path.split(os.pathsep)):
        for name in ("python3", f"python{version}"):
            told = probed(folder / name)
            if told is not None and told[0] == version:
                timings.setdefault(Path(told[2]).resolve(), (told[2], told[1]))
    return list(timings.values())


def probed(python: Path) -> tuple[str, float, str] | None:
    """What the probe says of it: version, seconds of CPU, where it is. None where it is of no use."""
    try:
        done = subprocess.run(
            [str(python), "-c", PROBE], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = done.stdout.decode().strip().split(maxsplit=2)
    if done.returncode != 0 or len(told) != 3:
        return None
    return told[0], float(told[1]), told[2]


if __name__ == "__main__":
    # It is python3 that runs this.
    found = timings_of(os.environ.get("PATH", ""), "{}.{}".format(*sys.version_info))
    if not found:
        sys.exit("No python3 on the PATH can make virtual environments")
    sys.stdout.write(f"{quickest(found)}\n")
