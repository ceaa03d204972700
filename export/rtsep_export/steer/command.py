"""``rtsep steer``: masks of a song's tags."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rtsep.bundle import shipped_bundles
from rtsep.errors import RtsepError
from rtsep_export.console import check_target, progress_bar
from rtsep_export.devices import best_device
from rtsep_export.memory import keep_freed_memory
from rtsep_export.steer.frozen import load_autoencoder, load_tagger
from rtsep_export.steer.song import steer_song
from rtsep_export.steer.steering import Settings, Target
from rtsep_export.steer.tags import target


def steer_file(
    source: Path,
    output: Path,
    *,
    tags: Sequence[str],
    autoencoder: str,
    taggers: Sequence[str],
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
    loaded = [load_tagger(source) for source in taggers]
    wanted = {
        _file_name(tag): [
            Target(named.network.to(device), target([tag], named.tags, named.instruments))
            for named in loaded
        ]
        for tag in tags
    }
    network = load_autoencoder(autoencoder).to(device)
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


def _file_name(tag: str) -> str:
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in tag.lower()).strip(" .-")


def _named(source: str) -> str:
    """A file's name and what tells it from others of that name."""
    path = shipped_bundles().get(source, Path(source))
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RtsepError(f"{path} cannot be read ({reason})", "a bundle or checkpoint") from None
    return f"{path.name} {digest}"
