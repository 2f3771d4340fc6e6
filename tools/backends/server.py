"""One server: how it is started, how it is known to answer, how it is ended."""

import fcntl
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
START_ATTEMPTS = 10


class CannotStart(Exception):
    """A server did not come up, or what it takes is not on this machine."""


@dataclass
class Server:
    """A process that listens on one port and keeps its files in one folder."""

    name: str
    folder: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)

    needs: ClassVar[str] = ""
    """What a machine must have for it, for the message when it has not."""
    account: ClassVar[str | None] = None
    """The account that the process runs under when this one is root, for servers that refuse root."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def available(self) -> bool:
        """Whether this machine has what it takes."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Write what the first start needs."""
        raise NotImplementedError

    def clear_up(self) -> None:
        """Remove what a killed process left in the way of the next; called while none runs."""

    def command(self) -> Sequence[str]:
        """What to run; the process must stay in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether clients can work with it now."""
        raise NotImplementedError

    def urls(self) -> Mapping[str, str]:
        """What clients connect to, by the name of the environment variable that tells them."""
        raise NotImplementedError

    @property
    def pid_file(self) -> Path:
        """Holds the number of the process group while it runs."""
        return self.folder / "pid"

    def running(self) -> bool:
        """Whether the process that was started here is still there."""
        try:
            pid = int(self.pid_file.read_text())
            command_line = Path(f"/proc/{pid}/cmdline")
            # A zombie has no command line; a number that was given to somebody else is not of our folder's time.
            return bool(command_line.read_bytes()) if Path("/proc").is_dir() else _alive(pid)
        except (OSError, ValueError):
            return False

    def start(self) -> None:
        """Start it and wait until it answers. CannotStart when it does not."""
        if self.running():
            return
        if not (self.folder / "prepared").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.give_to_account()
            self.prepare()
            (self.folder / "prepared").touch()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        process, attempts = self._spawn(), 1
        while not self.answers():
            if process.poll() is not None and attempts < START_ATTEMPTS:
                # What is left of a server that was killed may hold its files for a moment.
                time.sleep(0.5)
                process, attempts = self._spawn(), attempts + 1
            elif process.poll() is not None or time.monotonic() > deadline_s:
                self.stop()
                raise CannotStart(f"{self.name} did not come up; the end of {self.folder}/output.log:\n{self._tail()}")
            time.sleep(0.1)
        # It outlives this program on purpose; Popen would complain of a child that nobody waited for.
        process.returncode = 0

    def stop(self, *, kill: bool = False) -> None:
        """End it: by its own way, or at once with `kill`."""
        if not self.running():
            self.pid_file.unlink(missing_ok=True)
            return
        pid = int(self.pid_file.read_text())
        _signal_group(pid, signal.SIGKILL if kill else self.stop_signal)
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while self.running():
            _reap(pid)
            if time.monotonic() > deadline_s:
                _signal_group(pid, signal.SIGKILL)
            time.sleep(0.05)
        # A dead child that nobody has waited for still has its number, which some servers take for a living one.
        _reap(pid)
        _signal_group(pid, signal.SIGKILL)
        self.pid_file.unlink(missing_ok=True)

    def restart(self, *, kill: bool = False) -> None:
        """End it and start it again with its data, on its port."""
        self.stop(kill=kill)
        self.start()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.clear_up()
        with (self.folder / "output.log").open("ab") as output:
            process = subprocess.Popen(
                yielding(self.as_account(self.command())),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environment},
                cwd=self.folder,
                start_new_session=True,
            )
        self.pid_file.write_text(str(process.pid))
        return process

    def as_account(self, command: Sequence[str]) -> list[str]:
        """`command`, under the server's account where that is needed."""
        if self.account is None or os.geteuid() != 0:
            return list(command)
        return ["setpriv", f"--reuid={self.account}", f"--regid={self.account}", "--clear-groups", *command]

    def give_to_account(self) -> None:
        """Let the server's account own the folder."""
        if self.account is not None and os.geteuid() == 0:
            entry = pwd.getpwnam(self.account)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)

    def run(self, *command: str, check: bool = True, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a tool of the server's."""
        done = subprocess.run(
            self.as_account(command),
            env={**os.environ, **self.environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise CannotStart(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done

    def _tail(self) -> str:
        return "\n".join((self.folder / "output.log").read_text(errors="replace").splitlines()[-15:])


def yielding(command: Sequence[str]) -> list[str]:
    """`command`, run so that waking up it does not interrupt whoever woke it (SCHED_BATCH, sched(7)).

    On two cores a database that is sent a statement otherwise takes the processor from the program that sends it.
    """
    return ["chrt", "--batch", "0", *command] if shutil.which("chrt") else list(command)


def free_port() -> int:
    """A port that nobody listens on at this moment, that nobody else who asks here gets as long as this process lives,
    and that no outgoing connection is given.

    From those that are given (32768 and up on Linux), a client that keeps trying to reach a server that is down is
    connected to itself one day, and the server that comes back finds its port taken.
    """
    with (Path(tempfile.gettempdir()) / f"orderwright-ports-{os.getuid()}").open("a+") as notes:
        fcntl.flock(notes, fcntl.LOCK_EX)
        notes.seek(0)
        noted = (line.split() for line in notes)
        taken = {int(port): int(pid) for port, pid in noted if _alive(int(pid))}
        port = 0
        while port in {0, *taken} or not _bindable(port):
            port = random.SystemRandom().randrange(15_000, 32_000)
        notes.truncate(0)
        notes.writelines(f"{one} {pid}\n" for one, pid in (taken | {port: os.getpid()}).items())
    return port


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Whether somebody accepts connections on that port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
