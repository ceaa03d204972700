"""Where the command line prints, and how its one-line messages look."""

import sys

from rich.console import Console


def one_line(text: str) -> str:
    """`text` with line breaks and control characters (a path may hold any) spelt out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def complain(text: str) -> None:
    """Print one line to standard error."""
    print(f"rtsep: {one_line(text)}", file=sys.stderr)  # noqa: T201


def stdout() -> Console:
    """For results; 100 columns where the output is no terminal."""
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 100
    return console


def stderr() -> Console:
    """For progress."""
    return Console(stderr=True, highlight=False)
