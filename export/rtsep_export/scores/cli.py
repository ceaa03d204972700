"""``rtsep-export songs | learn | tables``: the paper's data, its rows and its tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rtsep.errors import RtsepError
from rtsep_export.console import progress_bar, show_work

if TYPE_CHECKING:
    from rtsep_export.scores.clips import Clips
    from rtsep_export.scores.training import Schedule

tables = typer.Typer(
    help="The papers' tables with our figures beside theirs.", no_args_is_help=True
)

SPLITS = ("train", "valid", "test")
QUICK_CHANNELS = 16
QUICK_S = 2.5
SongsFolder = Annotated[Path, typer.Argument(help="What 'songs' wrote.", show_default=False)]
Runs = Annotated[Path, typer.Option("--runs", "-o", help="Folder of the trained settings.")]
Minutes = Annotated[
    float | None,
    typer.Option(min=0.05, help="Training time of a setting; else the paper's stopping rule."),
]
Data = Annotated[Path | None, typer.Option(help="Data folder; else RTSEP_DATA.")]


def songs(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the songs.")],
    slakh: Annotated[
        Path | None, typer.Option(help="Slakh2100's folder, instead of rendering.")
    ] = None,
    data: Data = None,
    most: Annotated[int | None, typer.Option(min=1, help="Songs a split, at most.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes at work.")] = 2,
) -> None:
    """Make the songs of "Transcription Is All You Need": bass, guitar, piano at 16 kHz.

    Rendered from the MIDI collections, test songs with a font that training never hears,
    or taken from Slakh2100.  Songs already there are kept.
    """
    from rtsep_export.collections import data_root
    from rtsep_export.scores.slakh import convert_slakh
    from rtsep_export.scores.songs import render_songs

    for split in SPLITS:
        if slakh is not None:
            work = convert_slakh(slakh, output, split)
        else:
            work = render_songs(data_root(data), output, split, most=most, workers=workers)
        show_work(split, work)
    Console().print(f"songs: {output}")


def learn(
    setting: Annotated[str, typer.Argument(help="A row of the tables.", show_default=False)],
    folder: SongsFolder,
    runs: Runs,
    minutes: Minutes = None,
    batch: Annotated[int, typer.Option(min=1, help="Clips a step, over all processes.")] = 8,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train one setting of the paper; an interrupted run continues where it stopped.

    Under torchrun, every process takes its share of each batch.
    """
    import torch

    from rtsep_export.scores.networks import CHANNELS
    from rtsep_export.scores.settings import SETTINGS
    from rtsep_export.scores.training import Schedule

    if setting not in SETTINGS:
        raise RtsepError(f"setting {setting}", f"one of {', '.join(SETTINGS)}")
    torch.set_num_threads(threads)
    budget = None if minutes is None else minutes * 60.0
    schedule = Schedule(budget, batch=batch, seed=seed)
    train(setting, runs, folder, load_clips(folder), schedule, CHANNELS)


@tables.command()
def transcription(
    folder: Annotated[
        Path | None, typer.Argument(help="What 'songs' wrote.", show_default=False)
    ] = None,
    runs: Runs = Path("runs"),
    minutes: Minutes = None,
    quick: Annotated[
        bool, typer.Option(help="Tiny networks on a few songs, in minutes: does it all work?")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    data: Data = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Both tables of "Transcription Is All You Need", ours beside theirs.

    Trains what has not been trained yet, each setting for --minutes, and measures all.
    """
    import torch

    from rtsep_export.collections import data_root
    from rtsep_export.scores.networks import CHANNELS
    from rtsep_export.scores.settings import SETTINGS
    from rtsep_export.scores.tables import measure, write_results
    from rtsep_export.scores.tables import tables as rows
    from rtsep_export.scores.training import Schedule

    torch.set_num_threads(threads)
    channels = QUICK_CHANNELS if quick else CHANNELS
    if quick and folder is None:
        folder = runs / "songs"
        quick_songs(data_root(data), folder)
    if folder is None:
        raise RtsepError("no folder of songs", "what 'rtsep-export songs' wrote", "or use --quick")
    budget = None if minutes is None else minutes * 60.0
    schedule = Schedule(QUICK_S, batch=4) if quick else Schedule(budget)
    clips = load_clips(folder)
    for name in SETTINGS:
        train(name, runs, folder, clips, schedule, channels)
    results = {}
    with progress_bar() as progress:
        task = progress.add_task("measuring", total=len(SETTINGS))
        for name, found in measure(runs, clips["test"], channels):
            results[name] = found
            progress.update(task, advance=1, description=name)
    if json is not None:
        write_results(json, results, len(clips["test"]))
    for line in rows(results, len(clips["test"])):
        Console().print(line, markup=False, soft_wrap=True)


def load_clips(folder: Path) -> "dict[str, Clips]":
    """The clips of every split in a folder of songs."""
    from rtsep_export.scores.clips import Clips
    from rtsep_export.scores.songs import load_songs

    return {split: Clips(load_songs(folder / split)) for split in SPLITS}


def factorised_clips(folder: Path, clips: "dict[str, Clips]") -> "dict[str, Clips]":
    """The clips to train on with factorised stems to learn from."""
    from rtsep_export.scores.clips import Clips
    from rtsep_export.scores.factorised import factorise_songs, with_factorised

    found = {}
    for split in ("train", "valid"):
        songs = clips[split].songs
        show_work(f"factorising {split}", factorise_songs(folder / split, songs, workers=2))
        found[split] = Clips(with_factorised(folder / split, songs))
    return found


def quick_songs(root: Path, folder: Path) -> None:
    """A few songs, all in the test split's font, which is the smallest."""
    from rtsep_export.render import TEST_FONTS
    from rtsep_export.scores.songs import render_songs

    for split, most in (("train", 4), ("valid", 2), ("test", 2)):
        show_work(split, render_songs(root, folder, split, most=most, fonts=TEST_FONTS, workers=2))


def train(
    name: str,
    runs: Path,
    folder: Path,
    clips: "dict[str, Clips]",
    schedule: "Schedule",
    channels: int,
) -> None:
    """Train a setting to its end, with a bar; nothing where that is done."""
    from rtsep_export.scores.settings import SETTINGS
    from rtsep_export.scores.training import Run

    if SETTINGS[name].factorised:
        clips = factorised_clips(folder, clips)
    run = Run(name, runs, clips["train"], clips["valid"], schedule, channels)
    console = Console()
    with progress_bar() as progress:
        bar = progress.add_task(name, total=None if schedule.budget_s is None else 1.0)

        def report(where: str, share: float, figures: dict[str, float]) -> None:
            text = " ".join(f"{term} {value:.4g}" for term, value in figures.items())
            if "validated" in where and run.rank == 0:
                console.print(f"{name} {where}: {text}", markup=False, soft_wrap=True)
            progress.update(bar, completed=share, description=f"{name} {where} {text}"[:90])

        run.go(report)
