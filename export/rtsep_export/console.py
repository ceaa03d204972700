"""What the commands show on a terminal, and what they check before they begin."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from rtsep.errors import OutputError


def progress_bar() -> Progress:
    """A bar on standard error, where that is a terminal, for work that takes its time."""
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        *Progress.get_default_columns(),
        TimeElapsedColumn(),
        TextColumn(""),
        console=console,
        disable=not console.is_terminal,
    )


def show_bundles(paths: Iterable[Path], title: str = "") -> None:
    """Say which bundles were written, of what, and how large they are."""
    from rtsep_export.to_onnx import OPSET

    about = f"{title}, opset {OPSET}" if title else f"opset {OPSET}"
    for path in paths:
        size = path.stat().st_size / 1e6
        Console().print(f"{path}: {about}, {size:.1f} MB", markup=False, soft_wrap=True)


def show_work(label: str, work: Iterator[tuple[int, int, str]]) -> None:
    """Do work that says after every piece how many are done, of how many, and its name."""
    with progress_bar() as progress:
        task = progress.add_task(label, total=None)
        for done, total, name in work:
            progress.update(task, completed=done, total=total, description=f"{label} {name}"[:40])


@contextmanager
def training_bar(name: str) -> Iterator[Callable[[int, float, dict[str, float]], None]]:
    """Lend what `rtsep_export.training.train` reports to; validations are printed too."""
    console = Console()
    with progress_bar() as progress:
        bar = progress.add_task(name, total=1.0)

        def report(step: int, share: float, figures: dict[str, float]) -> None:
            text = " ".join(f"{term} {value:.3f}" for term, value in figures.items())
            if "score" in figures:
                console.print(f"{name} step {step}: {text}", markup=False, soft_wrap=True)
            description = f"{name} step {step} {text}"[:80]
            progress.update(bar, completed=min(share, 1.0), description=description)

        yield report


def check_target(output: Path, *, overwrite: bool) -> None:
    """Refuse a file that is there, or a folder that cannot be written to, before the work."""
    if output.exists() and not overwrite:
        raise OutputError(
            f"{output} is there already", remedy="choose another -o, or replace it with --overwrite"
        )
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{output.parent} is no folder to write to", remedy="choose another -o")
