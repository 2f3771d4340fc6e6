"""Where the command line prints. Invariant: a line is as long as what it says, because programs read lines, too."""

from rich.console import Console


def open_console() -> Console:
    """Standard output. Nothing is broken into lines of the terminal's width, which a pipe does not have."""
    return Console(highlight=False, soft_wrap=True)
