"""``rtsep-export tables tagbox``: what steering separates, in the paper's tables."""

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rtsep.errors import RtsepError
from rtsep_export.console import progress_bar
from rtsep_export.scores.cli import Data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtsep_export.steer.sources import Song

QUICK_S, QUICK_STEPS = 2.0, 2


def tagbox(
    autoencoder: Annotated[
        str, typer.Option(help="A bundle, or Jukebox's vqvae.pth.tar.", metavar="FILE")
    ] = "autoencoder",
    tagger: Annotated[
        list[str] | None,
        typer.Option(
            help="A row a tagger; one of several at once: A+B.  [default: tagger]",
            metavar="FILE[+FILE]",
            show_default=False,
        ),
    ] = None,
    rendered: Annotated[Path | None, typer.Option(help="What 'render' wrote: its test.")] = None,
    real: Annotated[Path | None, typer.Option(help="Recordings, mixture.flac in folders.")] = None,
    musdb: Annotated[Path | None, typer.Option(help="MUSDB18-HQ's own folder.")] = None,
    slakh: Annotated[Path | None, typer.Option(help="Slakh2100's own folder.")] = None,
    songs: Annotated[int, typer.Option(min=1, help="Songs of each, at most.")] = 8,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each song, its loudest.")] = 10.0,
    steps: Annotated[int, typer.Option(min=1, help="Of gradient ascent.")] = 10,
    quick: Annotated[
        bool, typer.Option(help="Untrained networks on one song, in a minute: does it all work?")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(help="Keep the figures here; go on from there.")
    ] = None,
    data: Data = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """TagBox's tables: SDR improvement of steered masks, beside HPSS and REPET-SIM.

    Both readings of the estimate: what the mask keeps, and what it leaves of the mixture.
    With --json an interrupted run goes on where it stopped, and a row more adds to the table.
    """
    import torch

    from rtsep_export.collections import data_root
    from rtsep_export.memory import keep_freed_memory
    from rtsep_export.steer import sources
    from rtsep_export.steer.frozen import load_autoencoder, load_tagger, untrained
    from rtsep_export.steer.steering import Settings
    from rtsep_export.steer.tables import Conditions, Kept, measure, read_kept, tables, write_kept

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    keep_freed_memory()
    everything: list[Iterator[Song]] = []
    if quick:
        network, rows = untrained()
        with_drums = (
            song for song in sources.real_songs(data_root(data) / "real") if "drums" in song.sources
        )
        everything.append(itertools.islice(with_drums, 1))
        steps, seconds = QUICK_STEPS, QUICK_S
    else:
        network = load_autoencoder(autoencoder)
        rows = [[load_tagger(source) for source in row.split("+")] for row in tagger or ["tagger"]]
    if rendered is not None:
        everything.append(sources.rendered_songs(rendered / "test", songs))
    if real is not None:
        everything.append(itertools.islice(sources.real_songs(real), songs))
    if musdb is not None:
        everything.append(sources.musdb_songs(musdb, songs))
    if slakh is not None:
        everything.append(sources.slakh_songs(slakh, songs))
    if not everything:
        raise RtsepError("no songs", "--rendered, --real, --musdb or --slakh")
    conditions = Conditions("untrained" if quick else autoencoder, seconds, steps)
    kept = Kept(conditions, 0.0, []) if json is None else read_kept(json, conditions)
    began = time.monotonic() - kept.taken_s
    with progress_bar() as progress:
        bar = progress.add_task("steering", total=None)
        songs_of = (sources.excerpt(song, seconds) for song in itertools.chain(*everything))
        for figure in measure(songs_of, network, rows, Settings(steps=steps), kept.figures):
            kept.figures.append(figure)
            kept.taken_s = time.monotonic() - began
            if json is not None:
                write_kept(json, kept)
            progress.update(bar, advance=1, description=f"{figure.song} {figure.method}"[:60])
    for line in tables(kept.figures, kept.taken_s):
        Console().print(line, markup=False, soft_wrap=True)
