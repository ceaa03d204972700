"""``rtsep-export parts | solos | learn-query | bundle-query | tables msi``: all of queries."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rtsep.errors import RtsepError
from rtsep_export.console import progress_bar, show_bundles, show_work, training_bar

LEARNING_RATE = 2e-3
CLIP_S, BATCH = 2.0, 12
QUICK_MINUTES, QUICK_CLIP_S, QUICK_BATCH, QUICK_EVERY = 0.05, 0.3, 2, 7

PartsFolder = Annotated[Path, typer.Argument(help="What 'parts' wrote.", show_default=False)]
Runs = Annotated[Path, typer.Option("--runs", "-o", help="Folder of the trained models.")]
Minutes = Annotated[float, typer.Option(min=0.05, help="Training time of a model.")]
Data = Annotated[Path | None, typer.Option(help="Data folder; else RTSEP_DATA.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]


def parts(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the parts.")],
    urmp: Annotated[Path | None, typer.Option(help="URMP's folder, instead of rendering.")] = None,
    data: Data = None,
    most: Annotated[int | None, typer.Option(min=1, help="Parts an instrument, at most.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes at work.")] = 2,
) -> None:
    """Make the parts of the query paper: single players of thirteen instruments at 16 kHz.

    Rendered from the chamber collections, test parts with a font that training never hears
    and five instruments that it does not either, or taken from URMP.  Parts already there
    are kept.
    """
    from rtsep_export.collections import data_root
    from rtsep_export.query.parts import PLANS, render_parts
    from rtsep_export.query.urmp import convert_urmp

    for split, plan in PLANS.items():
        if urmp is not None:
            work = convert_urmp(urmp, output, split)
        else:
            plan = plan if most is None else replace(plan, parts=min(most, plan.parts))
            work = render_parts(data_root(data), output, split, plan, workers=workers)
        show_work(split, work)
    Console().print(f"parts: {output}")


def solos(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="What 'render' wrote: they go beside its songs.")
    ],
    data: Data = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes at work.")] = 2,
) -> None:
    """Render solos of many instruments, which the live query model learns from.

    Into OUTPUT/solos/SPLIT/INSTRUMENT, from the chamber collections.  Solos already there
    are kept.
    """
    from rtsep_export.collections import data_root
    from rtsep_export.query.solos import PLANS, render_solos

    for split, plan in PLANS.items():
        show_work(split, render_solos(data_root(data), output, split, plan, workers=workers))
    Console().print(f"solos: {output / 'solos'}")


def learn_query(
    model: Annotated[str, typer.Argument(help="A column of the table.", show_default=False)],
    folder: PartsFolder,
    runs: Runs,
    minutes: Minutes = 60.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    threads: Threads = 2,
) -> None:
    """Train one of the query paper's models; an interrupted run continues where it stopped."""
    import torch

    from rtsep_export.query.networks import MODELS

    if model not in MODELS:
        raise RtsepError(f"model {model}", f"one of {', '.join(MODELS)}")
    torch.set_num_threads(threads)
    _train(model, folder, runs, minutes, CLIP_S, BATCH, seed)


def bundle_query(
    run: Annotated[
        Path, typer.Argument(help="A model's folder, of 'learn-query'.", show_default=False)
    ],
    folder: PartsFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="The first bundle, FILE.onnx.")],
    player: Annotated[
        Path | None,
        typer.Option(help="Another run, whose model is to play the scores.", metavar="RUN"),
    ] = None,
    version: Annotated[str, typer.Option(help="The bundles' version.")] = "0.1.0",
) -> None:
    """Write a trained model's bundles, each with its origin in its manifest.

    FILE.onnx, FILE-embed.onnx and, where the model takes pitch and timbre apart,
    FILE-synthesise.onnx, which 'rtsep query' takes.  Another run's model that plays the
    scores brings FILE-synthesise-embed.onnx besides.
    """
    from rtsep_export.query.bundles import write_query_bundles

    show_bundles(write_query_bundles(run, folder, output, version, player))


def msi(
    folder: Annotated[
        Path | None, typer.Argument(help="What 'parts' wrote.", show_default=False)
    ] = None,
    runs: Runs = Path("runs"),
    minutes: Minutes = 60.0,
    pairs: Annotated[int, typer.Option(min=1, help="Test pairs an instrument.")] = 4,
    quick: Annotated[
        bool, typer.Option(help="A few parts and steps, in minutes: does it all work?")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write every pair's figures here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw every instrument's figures here.")] = None,
    data: Data = None,
    threads: Threads = 2,
) -> None:
    """Table 1 of "A Unified Model for Zero-shot ... Separation", ours beside theirs.

    Trains what has not been trained yet, each model for --minutes, and measures all.
    """
    import torch

    from rtsep_export.collections import data_root
    from rtsep_export.query import tables
    from rtsep_export.query.networks import MODELS
    from rtsep_export.query.pairs import fixed_pairs

    torch.set_num_threads(threads)
    clip_s, batch = CLIP_S, BATCH
    if quick:
        minutes, clip_s, batch, pairs = QUICK_MINUTES, QUICK_CLIP_S, QUICK_BATCH, 1
        if folder is None:
            folder = runs / "parts"
            _quick_parts(data_root(data), folder)
    if folder is None:
        raise RtsepError("no folder of parts", "what 'rtsep-export parts' wrote", "or use --quick")
    for name in MODELS:
        _train(name, folder, runs, minutes, clip_s, batch, seed=1)
    asked = list(fixed_pairs(folder / "test", pairs))[:: QUICK_EVERY if quick else 1]
    results = {}
    with progress_bar() as progress:
        task = progress.add_task("measuring", total=len(MODELS))
        for name, found in tables.measure(runs, asked, list(MODELS)):
            results[name] = found
            progress.update(task, advance=1, description=name)
    if json is not None:
        tables.write_results(json, results)
    if plot is not None:
        tables.plot(results, plot)
    for line in tables.table(results):
        Console().print(line, markup=False, soft_wrap=True)


def _train(
    name: str, folder: Path, runs: Path, minutes: float, clip_s: float, batch: int, seed: int
) -> None:
    import torch

    from rtsep_export.query.networks import MODELS
    from rtsep_export.query.tables import CHECKPOINTS
    from rtsep_export.query.training import QueryTask
    from rtsep_export.training import Schedule, train

    torch.manual_seed(seed)
    valid_pairs = 4 * batch
    task = QueryTask(folder, MODELS[name], seconds=clip_s, batch=batch, valid_pairs=valid_pairs)
    schedule = Schedule(
        minutes * 60.0, learning_rate=LEARNING_RATE, snapshots=CHECKPOINTS, seed=seed
    )
    with training_bar(name) as report:
        train(task, schedule, runs / name, report)


def _quick_parts(root: Path, folder: Path) -> None:
    """A few short parts, all in the test split's font, which is the smallest."""
    from rtsep_export.query.parts import PLANS, render_parts
    from rtsep_export.render import TEST_FONTS

    for split, plan in PLANS.items():
        plan = replace(plan, parts=1, seconds=8.0, fonts=TEST_FONTS)
        show_work(split, render_parts(root, folder, split, plan, workers=2))
