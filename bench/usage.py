"""What processes use of a machine, as Linux tells it in /proc: CPU time, wake-ups, memory."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.backends.__main__ import chosen_folder

TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Use:
    """What a process, or several, have used since their start."""

    cpu_s: float
    wake_ups: int

    def since(self, before: "Use") -> "Use":
        return Use(self.cpu_s - before.cpu_s, self.wake_ups - before.wake_ups)

    @classmethod
    def of(cls, pid: int) -> "Use":
        """Of all threads, as far as they still run, and of children that have ended."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        switches = sum(
            int(line.split()[1])
            for status in Path(f"/proc/{pid}/task").glob("*/status")
            for line in status.read_text().splitlines()
            if line.startswith("voluntary_ctxt_switches")
        )
        return cls(sum(map(int, fields[11:15])) / TICKS, switches)


def memory_mb(pid: int) -> float:
    """What a process holds of the machine's memory."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def of_server(name: str) -> Use | None:
    """What a server has used, with all that it has begun; None for one that was not started from this checkout."""
    try:
        leader = (chosen_folder() / name / "pid").read_text().strip()
    except FileNotFoundError:
        return None
    parents = {stat.parent.name: _parent(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
    family = {leader}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    uses = [use for pid in family if (use := _use_while_it_runs(int(pid))) is not None]
    return Use(sum(use.cpu_s for use in uses), sum(use.wake_ups for use in uses))


def _use_while_it_runs(pid: int) -> Use | None:
    try:
        return Use.of(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None


def _parent(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return ""
