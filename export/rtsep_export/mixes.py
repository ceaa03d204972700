"""Mixes to learn from, made while a network learns: no two are alike.

A mix takes its stems from one moment of one song, as they belong together, or from
several songs; each at another level, through another equaliser, left and right swapped.
Processes beside the training make them; each segment is drawn `USES` times on average,
out of a pool in which it lies among others.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pedalboard
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from rtsep.rates import REFERENCE_RATE
from rtsep_export.dataset import ignore_interrupt
from rtsep_export.device_songs import Rolls
from rtsep_export.rendered import Audio, Notes, RenderedSongs, moved
from rtsep_export.stems import STEMS

# How often the stems are of one song and moment; else, how often each is of another.
TOGETHER, STRANGER = 0.4, 0.6
LEFT_OUT, MONO = 0.1, 0.1
LEVEL_DB, EQUALISER_DB = 3.0, 3.0
USES, POOL_BATCHES = 4, 16

Arrays = dict[str, Tensor]
Make = Callable[[RenderedSongs, np.random.Generator], Arrays]


class Prepare(Protocol):
    """Turns a stretch of music into what a network learns from."""

    @property
    def samples(self) -> int:
        """Length of the stretch that is needed."""

    def __call__(
        self, stems: Audio, notes: Notes, rng: np.random.Generator | None = None, /
    ) -> Arrays:
        """Arrays of stems ``[n_stems, 2, samples]`` and notes; `rng` may vary them."""

    def of_batch(self, stems: Tensor, rolls: Rolls, rng: np.random.Generator, /) -> Arrays:
        """Likewise of stems ``[batch, n_stems, 2, samples]``, on any device."""


def own_mix(songs: RenderedSongs, index: int, start: int, samples: int) -> tuple[Audio, Notes]:
    """Stems ``[n_stems, 2, samples]`` and notes of a part of a song, as rendered.

    Times of notes are in seconds from sample `start`.
    """
    stems = np.stack([songs.part(index, stem, start, samples) for stem in STEMS])
    return stems, moved(songs.notes(index), start)


def random_mix(songs: RenderedSongs, samples: int, rng: np.random.Generator) -> tuple[Audio, Notes]:
    """Stems ``[n_stems, 2, samples]`` of a mix that never was, and their notes."""
    return assembled(songs, random_places(songs, samples, rng), samples, rng)


def random_places(
    songs: RenderedSongs, samples: int, rng: np.random.Generator
) -> dict[str, tuple[int, int]]:
    """Song and first sample of every stem that is to sound in a mix."""

    def place(among: Sequence[int]) -> tuple[int, int]:
        index = among[int(rng.integers(len(among)))]
        return index, int(rng.integers(max(songs.length(index) - samples, 0) + 1))

    home = place(range(len(songs)))
    own = [stem for stem in STEMS if home[0] in songs.having[stem]]
    # One instrument alone teaches little.
    together = len(own) > 1 and rng.random() < TOGETHER
    places = {}
    for stem in STEMS:
        strange = stem not in own or (not together and rng.random() < STRANGER)
        absent = strange if together else rng.random() < LEFT_OUT or not songs.having[stem]
        if not absent:
            places[stem] = place(songs.having[stem]) if strange else home
    return places


def assembled(
    songs: RenderedSongs,
    places: Mapping[str, tuple[int, int]],
    samples: int,
    rng: np.random.Generator,
) -> tuple[Audio, Notes]:
    """Stems from their places, each varied, and their notes."""
    stems, notes = np.zeros((len(STEMS), 2, samples), np.float32), Notes()
    for row, stem in enumerate(STEMS):
        if stem in places:
            index, start = places[stem]
            stems[row] = varied(songs.part(index, stem, start, samples), rng)
            notes += [note for note in moved(songs.notes(index), start) if note[0] == stem]
    if rng.random() < MONO:
        stems[:] = stems.mean(axis=1, keepdims=True)
    return stems, notes


def varied(audio: Audio, rng: np.random.Generator) -> Audio:
    """Audio ``[2, samples]`` at another level, through another equaliser, sides swapped or not."""
    low_hz, middle_hz, high_hz = equaliser_hz(rng).tolist()
    low_db, middle_db, high_db = rng.normal(0.0, EQUALISER_DB, 3).tolist()
    board = pedalboard.Pedalboard(
        [
            pedalboard.LowShelfFilter(low_hz, low_db),
            pedalboard.PeakFilter(middle_hz, middle_db, float(rng.uniform(0.5, 1.5))),
            pedalboard.HighShelfFilter(high_hz, high_db),
            pedalboard.Gain(float(rng.normal(0.0, LEVEL_DB))),
        ]
    )
    varied = np.asarray(board(audio, REFERENCE_RATE), np.float32)
    return varied[::-1] if rng.random() < 0.5 else varied


def equaliser_hz(rng: np.random.Generator, shape: tuple[int, ...] = ()) -> npt.NDArray[np.float64]:
    """Frequencies of an equaliser's low shelf, peak and high shelf, ``[*shape, 3]``, in Hz."""
    low, high = np.log((80, 300, 3000)), np.log((300, 4000, 9000))
    drawn: npt.NDArray[np.float64] = np.exp(rng.uniform(low, high, (*shape, 3)))
    return drawn


def mono_at(audio: Audio, sample_rate: int, samples: int) -> Audio:
    """So many samples at another rate of audio ``[2, n]``, as one channel."""
    resampler = pedalboard.io.StreamResampler(REFERENCE_RATE, sample_rate, 1)
    mono = audio.mean(axis=0, keepdims=True)
    parts = [resampler.process(mono), resampler.process(None)]
    found = np.concatenate(parts, axis=1, dtype=np.float32)[0, :samples]
    return np.pad(found, (0, samples - len(found)))


def own_segments(folder: Path, prepare: Prepare) -> list[Arrays]:
    """Of each song of a folder, two segments of its own mix, always the same ones."""
    songs, rng = RenderedSongs(folder), np.random.default_rng(5)
    batches = []
    for index in range(len(songs)):
        starts = rng.integers(max(songs.length(index) - prepare.samples, 0) + 1, size=2)
        parts = [prepare(*own_mix(songs, index, int(s), prepare.samples)) for s in starts]
        batches.append({name: torch.stack([p[name] for p in parts]) for name in parts[0]})
    return batches


@dataclass(frozen=True)
class RandomSegments:
    """Random mixes, prepared for a network."""

    prepare: Prepare

    def __call__(self, songs: RenderedSongs, rng: np.random.Generator) -> Arrays:
        """The arrays of one."""
        return self.prepare(*random_mix(songs, self.prepare.samples, rng), rng)


class _Stream(IterableDataset[Arrays]):
    """Segments without end."""

    def __init__(self, songs: RenderedSongs, make: Make, seed: int) -> None:
        self._songs, self._make, self._seed = songs, make, seed

    def __iter__(self) -> Iterator[Arrays]:
        worker = get_worker_info()
        rng = np.random.default_rng([self._seed, worker.id if worker else 0])
        while True:
            yield self._make(self._songs, rng)


class Pool:
    """Segments that are there, to draw batches from."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._segments: deque[Arrays] = deque(maxlen=POOL_BATCHES * batch)

    def add(self, new: Arrays) -> None:
        """Keep some more, given with one more axis in front; the oldest go."""
        self._segments.extend(
            {name: array[i] for name, array in new.items()}
            for i in range(len(next(iter(new.values()))))
        )

    def draw(self, rng: np.random.Generator) -> Arrays | None:
        """A batch of different ones, or None where there are too few."""
        if len(self._segments) < self._batch:
            return None
        chosen = rng.choice(len(self._segments), self._batch, replace=False)
        names = self._segments[0]
        return {name: torch.stack([self._segments[i][name] for i in chosen]) for name in names}


class Mixes:
    """Batches of segments for a training.

    Parameters
    ----------
    folder : Path
        Of rendered songs.
    make : callable
        Makes a segment of the songs; run in other processes where there are `workers`.
    """

    def __init__(self, folder: Path, make: Make, batch: int, workers: int) -> None:
        self.songs = RenderedSongs(folder)
        self._make, self._batch = make, batch
        self._workers = workers
        self._fresh: Iterator[Arrays] | None = None
        self._pool = Pool(batch)

    def draw(self, rng: np.random.Generator) -> Arrays:
        """A batch, every array with one more axis in front."""
        if self._fresh is None:
            # A run that goes on begins with another seed, and so with other mixes.
            stream = _Stream(self.songs, self._make, int(rng.integers(2**31)))
            loader = DataLoader(
                stream,
                batch_size=max(self._batch // USES, 1),
                num_workers=self._workers,
                worker_init_fn=ignore_interrupt,
                prefetch_factor=8 if self._workers else None,
            )
            self._fresh = iter(loader)
        while True:
            self._pool.add(next(self._fresh))
            if (drawn := self._pool.draw(rng)) is not None:
                return drawn
