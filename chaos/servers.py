"""The servers of a run: an own PostgreSQL, on an own small disk where that can be had, and an own broker.

Invariant: whatever is started or mounted here is gone at the end; only processes that were started here are ended.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.faults import SERVICES
from tools.backends.server import CannotStart, Server, free_port
from tools.backends.servers import KAFKA_VERSION, Kafka, Postgres, RabbitMq, Redis

BROKERS: Final[Mapping[str, type[Server]]] = {"redis": Redis, "rabbitmq": RabbitMq, "kafka": Kafka}
DISK: Final = "1500m"
"""Of PostgreSQL: room for its write-ahead log of 1 GB at most."""


class ManyDoors(Kafka):
    """A Kafka that tells each service to come in by a port of its own, as a client goes where the broker says it is."""

    doors: Mapping[str, tuple[int, int]]
    """By service: the port that it listens on, and the port that it says."""

    @property
    def _jars(self) -> Path:
        # Beside the runs, not in one of them: they are fetched once.
        return self.folder.parents[1] / f"kafka-{KAFKA_VERSION}"

    def prepare(self) -> None:
        super().prepare()
        path = self.folder / "server.properties"
        lines = []
        for line in path.read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "listeners":
                value += "".join(f",{s.upper()}://127.0.0.1:{here}" for s, (here, _) in self.doors.items())
            elif name == "advertised.listeners":
                value += "".join(f",{s.upper()}://127.0.0.1:{said}" for s, (_, said) in self.doors.items())
            lines.append(f"{name}={value}")
        protocols = ",".join(f"{name.upper()}:PLAINTEXT" for name in ("plaintext", "controller", *self.doors))
        lines += [f"listener.security.protocol.map={protocols}", "inter.broker.listener.name=PLAINTEXT"]
        path.write_text("\n".join(lines) + "\n")


@dataclass
class Servers:
    """What a run stands on."""

    folder: Path
    kind: str
    postgres: Server
    broker: Server
    small_disk: bool
    """Whether PostgreSQL's disk can be filled."""
    doors: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By service: the broker's port, and the port that stands before it."""

    @property
    def database_url(self) -> str:
        """PostgreSQL itself, with no proxy in between."""
        return f"postgresql://orderwright@127.0.0.1:{self.postgres.port}/chaos"

    def broker_url(self, port: int) -> str:
        """The broker by way of `port`."""
        [url] = self.broker.urls().values()
        told = url.replace(f":{self.broker.port}", f":{port}")
        return f"{told}?partitions=4" if self.kind == "kafka" else told

    def kill(self, server: Server) -> None:
        """End a server and every process that it began, at once."""
        try:
            pid = int(server.pid_file.read_text())
        except FileNotFoundError:
            return
        # PostgreSQL's processes lead groups of their own. One that outlived its master would write beside the next one.
        for one in (pid, *_below(pid)):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        # Whatever starts next takes a process that nobody has waited for, for a living one.
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        server.stop(kill=True)

    def fill_disk(self) -> None:
        """Leave PostgreSQL no room."""
        with suppress(OSError), self._ballast.open("wb") as ballast:
            while True:
                ballast.write(bytes(1 << 20))
                ballast.flush()

    def free_disk(self) -> None:
        """Give the room back, and start PostgreSQL where it gave up."""
        self._ballast.unlink(missing_ok=True)
        self.postgres.start()

    @property
    def _ballast(self) -> Path:
        return self.postgres.folder / "ballast"


@contextmanager
def servers(folder: Path, kind: str) -> Iterator[Servers]:
    """PostgreSQL and a broker of that kind, running. CannotStart where this machine has not got one."""
    folder = folder.resolve()
    disk = folder / "postgres"
    disk.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = Servers(
        folder,
        kind,
        Postgres("postgres", disk, free_port()),
        (ManyDoors if kind == "kafka" else BROKERS[kind])(kind, folder / kind, free_port()),
        small_disk=_mounted(disk),
    )
    try:
        for server in (made.postgres, made.broker):
            if not server.available():
                raise CannotStart(f"{server.name} needs {server.needs}")
        made.doors = {s: (free_port() if kind == "kafka" else made.broker.port, free_port()) for s in SERVICES}
        if isinstance(made.broker, ManyDoors):
            made.broker.doors = made.doors
        made.postgres.start()
        made.broker.start()
        yield made
    finally:
        made.broker.stop(kill=True)
        made.kill(made.postgres)
        if made.small_disk:
            subprocess.run(["umount", "--lazy", str(disk)], check=False)
        for path in (disk, folder / kind):
            shutil.rmtree(path, ignore_errors=True)


def _mounted(folder: Path) -> bool:
    """Put a small disk of memory at `folder`; answers whether it could be done, which takes root's rights."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0755", "orderwright-chaos", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _below(pid: int) -> list[int]:
    """The processes that a process began, and those that they began."""
    try:
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [found for child in children for found in (child, *_below(child))]
