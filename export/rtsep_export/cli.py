"""The command line of training.

``rtsep-export render | train | bundle``, in this order, make the bundles that ship;
``tune`` and ``figures`` finish them.  ``solos`` beside the songs for query-live.  ``songs |
learn | tables`` and ``parts | learn-query | bundle-query | tables`` are the papers' part.
"""

import sys
import warnings
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from rtsep.errors import RtsepError
from rtsep_export.console import check_target, progress_bar, show_bundles, show_work, training_bar
from rtsep_export.memory import keep_freed_memory
from rtsep_export.network_names import NetworkName, Supervision
from rtsep_export.query import cli as query
from rtsep_export.scores import cli as scores
from rtsep_export.steer import cli as steer

app = typer.Typer(
    name="rtsep-export",
    help="Data, networks, bundles: render, solos, train, bundle, tune, and figures once measured; "
    "songs, learn, parts, learn-query, bundle-query and tables for the papers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.command()(scores.songs)
app.command()(scores.learn)
scores.tables.command()(query.msi)
scores.tables.command()(steer.tagbox)
app.command()(query.parts)
app.command()(query.solos)
app.command()(query.learn_query)
app.command()(query.bundle_query)
app.add_typer(scores.tables, name="tables")


class Split(StrEnum):
    """Parts of the data set; a song is in one of them only."""

    train = "train"
    valid = "valid"
    test = "test"


SplitOption = Annotated[Split, typer.Option(help="Part of the data set.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes at work.")]
Out = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]


@app.command()
def render(
    output: Out,
    split: SplitOption = Split.train,
    data: Annotated[Path | None, typer.Option(help="Data folder; else RTSEP_DATA.")] = None,
    bands: Annotated[int | None, typer.Option(help="At most so many band songs.")] = None,
    seconds: Annotated[float | None, typer.Option(min=2.0, help="Excerpt length.")] = None,
    take: Annotated[int, typer.Option(min=0, help="Another number, another rendering.")] = 0,
    workers: Workers = 2,
) -> None:
    """Render songs of the MIDI collections into OUTPUT/SPLIT/SONG/{mix,stems}.flac.

    Songs already there are kept, so that an interrupted run continues.
    """
    from rtsep_export.collections import data_root
    from rtsep_export.dataset import PLANS, render_split

    plan = PLANS[split]
    if bands is not None:
        plan = replace(plan, bands=bands, pianos=0, others=0)
    if seconds is not None:
        plan = replace(plan, seconds=seconds)
    songs = render_split(data_root(data), output, split, plan, workers=workers, take=take)
    show_work("rendering", songs)
    Console().print(f"rendered: {output / split}")


@app.command()
def train(
    network: Annotated[NetworkName, typer.Argument(show_default=False)],
    rendered: Annotated[Path, typer.Argument(help="What 'render' wrote.", show_default=False)],
    output: Out,
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time.")] = 90.0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that make mixes.")] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    supervision: Annotated[
        Supervision, typer.Option(help="What a separator learns from.")
    ] = Supervision.stems,
    start: Annotated[
        str | None,
        typer.Option("--start-from", help="Begin with this bundle's weights.", metavar="BUNDLE"),
    ] = None,
) -> None:
    """Train a network for a while; an interrupted run continues where it stopped.

    Mixes are made of the rendered songs while it learns.
    """
    import torch

    from rtsep_export.networks import make_task, schedule
    from rtsep_export.training import train as run

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    task = make_task(network, rendered, supervision, workers=workers)
    if start is not None:
        from rtsep.bundle import load_bundle
        from rtsep_export.from_onnx import start_from
        from rtsep_export.origin import note_start

        known = load_bundle(start)
        start_from(task.network, known)
        note_start(output, known)
    with training_bar(network) as report:
        weights = run(task, schedule(network, minutes * 60.0, seed), output, report)
    Console().print(f"trained: {weights}")


@app.command()
def bundle(
    network: Annotated[NetworkName, typer.Argument(show_default=False)],
    run: Annotated[Path, typer.Argument(help="What 'train' wrote.", show_default=False)],
    rendered: Annotated[Path, typer.Option(help="What 'render' wrote: its recipes name the data.")],
    output: Out,
    version: Annotated[str, typer.Option(help="The bundles' version.")] = "0.1.0",
) -> None:
    """Write a trained network's bundles, each with its origin in its manifest."""
    from rtsep_export.networks import write_bundles
    from rtsep_export.origin import training_record

    record = training_record(run, rendered, network)
    output.mkdir(parents=True, exist_ok=True)
    write_bundles(network, run / "model.pt", output, record, version)
    show_bundles(sorted(output.glob("*.onnx")))


@app.command()
def adapt(
    mix: Annotated[Path, typer.Argument(help="A recording.", show_default=False)],
    midi: Annotated[Path, typer.Option(help="Its score.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The bundle to write.", show_default=False)
    ],
    model: Annotated[str, typer.Option(help="The separator to start from.")] = "live",
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time.")] = 10.0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    overwrite: Annotated[bool, typer.Option(help="Replace a bundle that is there.")] = False,
) -> None:
    """Adapt a separator to a song from its mixture and its MIDI score alone.

    The score need not be in time with the recording. 'rtsep separate --model' and 'rtsep
    live --model' take the bundle that comes of it.
    """
    import torch

    from rtsep.bundle import load_bundle
    from rtsep_export.adapt import adapt as run

    check_target(output, overwrite=overwrite)
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    with progress_bar() as progress:
        bar = progress.add_task("reading", total=1.0)

        def report(step: int, share: float, figures: dict[str, float]) -> None:
            progress.update(bar, completed=min(share, 1.0), description=f"step {step}")

        done = run(load_bundle(model), mix, midi, output, minutes * 60.0, report)
    console = Console()
    console.print("SDR against the stems that the score gives, dB:")
    for stem, before in done.before.items():
        console.print(f"  {stem}: {before:.1f} before, {done.after[stem]:.1f} after")
    console.print(f"adapted: {output}", markup=False, soft_wrap=True)


@app.command("import")
def import_(
    checkpoint: Annotated[
        Path, typer.Argument(help="Published weights, e.g. model.pth.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The bundle to write.", show_default=False)
    ],
    licence: Annotated[
        str, typer.Option(help="Licence of the weights, for the manifest.")
    ] = "as its publisher states",
    overwrite: Annotated[bool, typer.Option(help="Replace a bundle that is there.")] = False,
) -> None:
    """Make bundles of published weights, recognised by their tensors.

    A query model (MSI, MSI-DIS) gives FILE.onnx, FILE-embed.onnx and FILE-synthesise.onnx;
    Jukebox's autoencoder and the taggers of Won et al., whose tags are told by their file's
    name (mtat, jamendo, msd), give one file each, which 'rtsep steer' takes.
    """
    from rtsep_export.imports import import_checkpoint

    check_target(output, overwrite=overwrite)
    title, written = import_checkpoint(checkpoint, output, licence=licence)
    show_bundles(written, title)


@app.command()
def tune(
    model: Annotated[Path, typer.Argument(help="A transcriber's bundle.", show_default=False)],
    rendered: Annotated[Path, typer.Argument(help="What 'render' wrote.", show_default=False)],
) -> None:
    """Find the levels at which a transcriber's notes are best on the validation songs."""
    from rtsep_export.tuning import tune as search

    with progress_bar() as progress:
        task = progress.add_task("listening", total=None)
        for done, total, stem, f1 in search(model, rendered / "valid"):
            Console().print(f"{stem}: F1 {f1:.3f}")
            progress.update(task, completed=done, total=total, description=stem)


@app.command()
def figures(
    report: Annotated[Path, typer.Argument(help="From benchmarks/quality.py --json.")],
    models: Annotated[Path, typer.Argument(help="Folder of bundles.", show_default=False)],
) -> None:
    """Write measured figures into the bundles' manifests."""
    from rtsep_export.figures import state_figures

    for name, count in state_figures(report, models).items():
        Console().print(f"{name}: {count} figures")


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    keep_freed_memory()
    try:
        app()
    except RtsepError as error:
        print(f"rtsep-export: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
