"""Secrets that an installation makes for itself and keeps in its data folder, readable by its owner only."""

import os
from pathlib import Path

from orderwright.kernel.ids import Ids


def read_or_make_secret(path: Path, ids: Ids) -> str:
    """The secret in `path`, which is made with mode 0600 when it does not exist."""
    write_private(path, ids.secret(), replace=False)
    return path.read_text().strip()


def write_private(path: Path, text: str, *, replace: bool = True) -> None:
    """Write `text` to a file of mode 0600; without `replace` an existing file is left as it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    path.chmod(0o600)
