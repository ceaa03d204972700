"""``rtsep steer``: masks of a song's tags, or of those of many songs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from rtsep.bundle import shipped_bundles
from rtsep.errors import AudioError, OutputError, RtsepError
from rtsep_export.console import check_target, progress_bar
from rtsep_export.devices import best_device
from rtsep_export.memory import keep_freed_memory
from rtsep_export.steer.frozen import load_autoencoder, load_tagger
from rtsep_export.steer.song import OnProgress, steer_song
from rtsep_export.steer.steering import Settings, Target
from rtsep_export.steer.tags import target

SONGS = (".wav", ".flac", ".mp3", ".ogg", ".aiff", ".aif")


@dataclass(frozen=True)
class Order:
    """What masks are to be made of.

    Attributes
    ----------
    tags : tuple of str
    autoencoder : str
    taggers : tuple of str
        Names of shipped bundles, or paths.
    removed : bool
        The paper's reading: keep what the masks take away.
    """

    tags: tuple[str, ...]
    autoencoder: str
    taggers: tuple[str, ...]
    settings: Settings
    removed: bool


def steer_file(source: Path, output: Path, order: Order, *, overwrite: bool) -> None:
    """See ``rtsep steer --help``, of one song.

    Raises
    ------
    RtsepError
        Something in it cannot be used; nothing is written.
    """
    check_target(output, overwrite=overwrite)
    with progress_bar() as progress:
        bar = progress.add_task("steering", total=None)

        def report(done: int, total: int, tag: str) -> None:
            progress.update(bar, completed=done, total=total, description=tag[:40])

        names, size = make_masks(source, output, order, report)
    Console().print(
        f"{output}: {', '.join(names)}, {size / 1e6:.1f} MB", markup=False, soft_wrap=True
    )


def steer_files(
    jobs: Sequence[tuple[Path, Path]], order: Order, cluster: str | None, *, overwrite: bool
) -> None:
    """See ``rtsep steer --help``, of many songs; mask files that are there are kept.

    Raises
    ------
    RtsepError
        Something in it cannot be used, or songs failed: which, and why, was printed.
    """
    _wanted(order)  # what cannot be used is said once, not song by song
    todo = [job for job in jobs if overwrite or not job[1].is_file()]
    with progress_bar() as progress:
        bar = progress.add_task("steering", total=len(todo))

        def report(done: int, total: int, name: str) -> None:
            progress.update(bar, completed=done, total=total, description=name[:40])

        if cluster is not None:
            from rtsep_export.steer.cluster import steer_catalogue

            failures = steer_catalogue(todo, order, cluster, report)
        else:
            failures = _one_by_one(todo, order, report)
    console = Console()
    for song, why in failures:
        console.print(f"{song}: {why}", markup=False, soft_wrap=True)
    console.print(
        f"{jobs[0][1].parent}: masks of {len(jobs) - len(failures)} of {len(jobs)} songs",
        markup=False,
        soft_wrap=True,
    )
    if failures:
        raise RtsepError(
            f"{len(failures)} of {len(jobs)} songs have no masks", remedy="run it again for those"
        )


def _one_by_one(
    jobs: Sequence[tuple[Path, Path]], order: Order, report: OnProgress
) -> list[tuple[Path, str]]:
    failures = []
    for done, (song, path) in enumerate(jobs, 1):
        try:
            make_masks(song, path, order, lambda *_: None)
        except AudioError as error:
            failures.append((song, str(error)))
        report(done, len(jobs), song.name)
    return failures


def make_masks(
    source: Path, output: Path, order: Order, report: OnProgress
) -> tuple[list[str], int]:
    """Write a song's mask file; the names of its masks, and their bytes.

    Raises
    ------
    RtsepError
        Something cannot be used; nothing is written.
    """
    wanted = _wanted(order)
    about = {
        "autoencoder": _named(order.autoencoder),
        "taggers": ", ".join(map(_named, order.taggers)),
        "tags": ", ".join(order.tags),
        "n_ffts": ", ".join(map(str, order.settings.n_ffts)),
        "steps": str(order.settings.steps),
        "rate": str(order.settings.rate),
        "estimate": "removed" if order.removed else "kept",
    }
    keep_freed_memory()
    network = load_autoencoder(order.autoencoder).to(best_device())
    size = steer_song(
        source,
        output,
        wanted,
        network,
        order.settings,
        removed=order.removed,
        about=about,
        on_progress=report,
    )
    return [*wanted], size


def _wanted(order: Order) -> dict[str, list[Target]]:
    """What each mask is to be of, by its name."""
    if not order.tags:
        raise RtsepError("no --tag", "what to make masks of, e.g. --tag guitar")
    device = best_device()
    loaded = [load_tagger(source) for source in order.taggers]
    return {
        _file_name(tag): [
            Target(named.network.to(device), target([tag], named.tags, named.instruments))
            for named in loaded
        ]
        for tag in order.tags
    }


def catalogue(sources: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Songs, those in folders too, and the mask file of each in the folder `output`.

    Raises
    ------
    RtsepError
        A folder without songs, or two songs of one name.
    OutputError
        `output` is a file, or cannot be made.
    """
    songs: list[Path] = []
    for source in sources:
        found = sorted(p for p in source.rglob("*") if p.suffix.lower() in SONGS)
        if source.is_dir() and not found:
            raise RtsepError(f"no songs in {source}", f"files of {', '.join(SONGS)}")
        songs += found if source.is_dir() else [source]
    jobs = [(song, output / f"{song.stem}.masks") for song in songs]
    targets = [path.name for _, path in jobs]
    for song, path in jobs:
        if targets.count(path.name) > 1:
            raise RtsepError(f"two songs called {song.stem}", "a name for each", "steer one apart")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise OutputError(
            f"{output} is no folder to write to", remedy="choose another -o"
        ) from None
    return jobs


def _file_name(tag: str) -> str:
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in tag.lower()).strip(" .-")


def network_file(source: str) -> tuple[str, bytes]:
    """Name and content of a network's file, of a shipped bundle or a path.

    Raises
    ------
    RtsepError
        It cannot be read.
    """
    path = shipped_bundles().get(source, Path(source))
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RtsepError(f"{path} cannot be read ({reason})", "a bundle or checkpoint") from None


def _named(source: str) -> str:
    """A file's name and what tells it from others of that name."""
    name, data = network_file(source)
    return f"{name} {hashlib.sha256(data).hexdigest()[:12]}"
