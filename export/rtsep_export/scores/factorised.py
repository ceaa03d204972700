"""Stems of the training songs from their mixtures and scores alone, to learn from.

Not of the paper: what `rtsep_export.pseudo_stems` makes of a mixture and its score is
better than the mixture by some decibels, and a separator that learns from it as if it
were the truth needs no critic.  The true stems serve to make the mixture and no more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rtsep.output_file import replacing
from rtsep_export.dataset import worker_pool
from rtsep_export.pseudo_stems import Grid, pseudo_stems
from rtsep_export.scores.songs import INSTRUMENTS, SAMPLE_RATE, StoredSong

GRID = Grid(1024, 256, SAMPLE_RATE)
FOLDER = "factorised"


def factorise_songs(
    folder: Path, songs: Sequence[StoredSong], *, workers: int = 1
) -> Iterator[tuple[int, int, str]]:
    """Store the factorised stems of some songs in ``folder/factorised``; those there are kept.

    Yields
    ------
    done, total, name
        After every song.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    jobs = [(song, path) for song in songs if not (path := _path(folder, song)).exists()]
    if not jobs:
        return
    with worker_pool(workers) as pool:
        for done, name in enumerate(pool.imap_unordered(_job, jobs), 1):
            yield done, len(jobs), name


def with_factorised(folder: Path, songs: Sequence[StoredSong]) -> list[StoredSong]:
    """The songs with what `factorise_songs` stored as what a network may learn from."""
    return [replace(song, targets=np.load(_path(folder, song), mmap_mode="r")) for song in songs]


def factorised(song: StoredSong) -> npt.NDArray[np.int16]:
    """A song's stems from its mixture and score, int16, shape (3, frames)."""
    mixture = torch.from_numpy(song.stems.astype(np.float32).sum(0, keepdims=True) / 32768)
    notes = [(INSTRUMENTS[i], pitch, on, off, 0) for i, pitch, on, off in song.notes]
    frames = len(GRID.times_s(mixture.shape[-1]))
    masks = torch.zeros(len(INSTRUMENTS), len(GRID.bins_hz), frames)
    for i in {note[0] for note in song.notes}:
        masks[i] = 1.0
    stems = pseudo_stems(mixture, notes, masks, GRID, INSTRUMENTS)[:, 0]
    return (stems * 32768).round().clamp(-32768, 32767).short().numpy()


def _path(folder: Path, song: StoredSong) -> Path:
    return folder / FOLDER / f"{song.name}.npy"


def _job(job: tuple[StoredSong, Path]) -> str:
    song, path = job
    torch.set_num_threads(1)
    with replacing(path) as scratch:
        np.save(scratch, factorised(song))
    return song.name
