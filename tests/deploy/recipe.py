"""A Dockerfile carried out without an engine: its own lines, in a folder that stands for the image's root.

What it takes from an image is Python, so a virtual environment stands for the base image; each stage begins with a new
one and an empty root. Absolute paths of the Dockerfile are moved below the root. What it cannot show: the base image's
own files, and that nothing but the root is written to.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

OWN_PATHS = re.compile(r"(?<![\w/.:])/(?=(?:opt|build|data)\b)")
"""Where the Dockerfile puts files; other absolute paths are those of the machine."""
KEPT = {"USER", "WORKDIR", "ENTRYPOINT", "CMD", "HEALTHCHECK", "LABEL", "VOLUME", "EXPOSE", "STOPSIGNAL"}


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    instruction: str
    words: str


def steps_of(dockerfile: str) -> list[Step]:
    """Its instructions, in order, continued lines joined."""
    kept = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", kept).splitlines()
    return [Step(*line.split(maxsplit=1)) for line in lines if line.strip()]


@dataclass
class Image:
    """What the steps leave."""

    folder: Path
    context: Path
    """The repository, all of it: that .dockerignore lets through what is copied has a test of its own."""
    environment: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    """What the stage says about running it, by instruction."""
    _earlier: dict[str, Path] = field(default_factory=dict)
    _stage: str = ""

    @property
    def user(self) -> str:
        """Number of the account and of its group."""
        return self.kept.get("USER", "0:0")

    @property
    def command(self) -> list[str]:
        """What runs when nothing else is asked for."""
        words: list[str] = json.loads(self.kept["ENTRYPOINT"]) + json.loads(self.kept["CMD"])
        return words

    @property
    def healthcheck(self) -> list[str]:
        """What tells whether it is well."""
        words: list[str] = json.loads(self.kept["HEALTHCHECK"].partition("CMD ")[2])
        return words

    @property
    def root(self) -> Path:
        """What stands for `/`."""
        return self.folder / "root"

    def build(self, dockerfile: str) -> None:
        """Carry out every step; a RUN that fails is an AssertionError with what it said."""
        doing: dict[str, Callable[[str], None]] = {
            "FROM": self._begin,
            "RUN": lambda words: self.run(["sh", "-ec", words]),
            "COPY": self._copy,
            "ENV": self._set,
        }
        for instruction, words in steps_of(dockerfile):
            if instruction in doing:
                doing[instruction](words)
            elif instruction in KEPT:
                self.kept[instruction] = words
            else:
                raise NotImplementedError(f"tests/deploy/recipe.py does not know {instruction}")

    def run(self, command: list[str], **more: str) -> None:
        """Run something there, as the account that is set, and wait for it."""
        done = subprocess.run(
            self.as_user([self.moved(word) for word in command]),
            env=self.variables(**more),
            cwd=self.root / self.kept.get("WORKDIR", "/").lstrip("/"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"

    def as_user(self, command: list[str]) -> list[str]:
        """`command` under the account of USER, where this process may choose one."""
        uid, _, gid = self.user.partition(":")
        if os.geteuid() or uid == "0":
            return command
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", *command]

    def variables(self, **more: str) -> dict[str, str]:
        """The environment of what runs there. While it is built, what pip was told of its registry is kept."""
        machine = (
            {} if self.user != "0:0" else {name: v for name, v in os.environ.items() if "PIP" in name or "SSL" in name}
        )
        base = {"PATH": f"{self.folder}/base/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), **machine}
        own = {name: self.moved(value.replace("$PATH", base["PATH"])) for name, value in self.environment.items()}
        return base | own | more

    def moved(self, text: str) -> str:
        """`text` with the Dockerfile's own paths below the root."""
        return OWN_PATHS.sub(f"{self.root}/", text)

    def _begin(self, words: str) -> None:
        if self._stage:
            # Scripts name the path of their interpreter, so every stage is built at the same place.
            self._earlier[self._stage] = self.root.rename(self.folder / self._stage)
            shutil.rmtree(self.folder / "base")
        _, _, self._stage = words.partition(" AS ")
        self._stage = self._stage or "last"
        self.root.mkdir()
        self.environment, self.kept = {}, {}
        venv.create(self.folder / "base", with_pip=True)

    def _copy(self, words: str) -> None:
        options, *paths = (re.findall(r"--\w+=\S+", words), *re.sub(r"--\w+=\S+", "", words).split())
        chosen = dict(str(option).removeprefix("--").split("=") for option in options)
        source = self._earlier[chosen["from"]] if "from" in chosen else self.context
        target = self.root / paths[-1].lstrip("/")
        for path in paths[:-1]:
            origin = source / path.lstrip("/")
            goal = target / origin.name if paths[-1].endswith("/") else target
            goal.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, goal, symlinks=True)
            else:
                shutil.copy2(origin, goal)
        if "chown" in chosen and not os.geteuid():
            uid, _, gid = chosen["chown"].partition(":")
            os.chown(target, int(uid), int(gid))

    def _set(self, words: str) -> None:
        for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', words):
            self.environment[name] = value.strip('"')


def base_reachable() -> bool:
    """Whether another account may run this Python; one below a private home it may not."""
    places = [Path(sys.executable).resolve(), *Path(sys.executable).resolve().parents]
    return all(place.stat().st_mode & 0o005 for place in places)
