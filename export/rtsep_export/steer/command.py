"""``rtsep steer``: masks of a song's tags."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rtsep.errors import RtsepError
from rtsep_export.console import check_target, progress_bar
from rtsep_export.devices import best_device
from rtsep_export.memory import keep_freed_memory
from rtsep_export.steer.autoencoder import load_autoencoder
from rtsep_export.steer.song import steer_song
from rtsep_export.steer.steering import Settings, Target
from rtsep_export.steer.taggers import load_tagger
from rtsep_export.steer.tags import INSTRUMENTS, TAG_LISTS, target


def steer_file(
    source: Path,
    output: Path,
    *,
    tags: Sequence[str],
    autoencoder: Path,
    taggers: Sequence[Path],
    settings: Settings,
    removed: bool,
    overwrite: bool,
) -> None:
    """See ``rtsep steer --help``.

    Raises
    ------
    RtsepError
        Something in it cannot be used; nothing is written.
    """
    check_target(output, overwrite=overwrite)
    if not tags:
        raise RtsepError("no --tag", "what to make masks of, e.g. --tag guitar")
    about = {
        "autoencoder": _named(autoencoder),
        "taggers": ", ".join(map(_named, taggers)),
        "tags": ", ".join(tags),
        "n_ffts": ", ".join(map(str, settings.n_ffts)),
        "steps": str(settings.steps),
        "rate": str(settings.rate),
        "estimate": "removed" if removed else "kept",
    }
    keep_freed_memory()
    device = best_device()
    lists = [_list_of(path) for path in taggers]
    vectors = {
        tag: [target([tag], TAG_LISTS[name], INSTRUMENTS[name]) for name in lists] for tag in tags
    }
    network = load_autoencoder(autoencoder).to(device)
    loaded = [load_tagger(path).to(device) for path in taggers]
    wanted = {
        _file_name(tag): [
            Target(tagger, vector) for tagger, vector in zip(loaded, vectors[tag], strict=True)
        ]
        for tag in tags
    }
    with progress_bar() as progress:
        bar = progress.add_task("steering", total=None)

        def report(done: int, total: int, tag: str) -> None:
            progress.update(bar, completed=done, total=total, description=tag[:40])

        size = steer_song(
            source,
            output,
            wanted,
            network,
            settings,
            removed=removed,
            about=about,
            on_progress=report,
        )
    Console().print(
        f"{output}: {', '.join(wanted)}, {size / 1e6:.1f} MB", markup=False, soft_wrap=True
    )


def _list_of(tagger: Path) -> str:
    """Which data set's tags a checkpoint names; its file's name says so."""
    for name in TAG_LISTS:
        if name in tagger.stem.lower():
            return name
    raise RtsepError(
        f"{tagger.name}, which does not say whose tags it knows",
        f"one of {', '.join(TAG_LISTS)} in the file's name",
        "rename it as it was published, e.g. mtat-fcn.pth",
    )


def _file_name(tag: str) -> str:
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in tag.lower()).strip(" .-")


def _named(path: Path) -> str:
    """A file's name and what tells it from others of that name."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RtsepError(f"{path} cannot be read ({reason})", "a checkpoint") from None
    return f"{path.name} {digest}"
