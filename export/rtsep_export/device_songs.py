"""Songs in a device's memory: their stems and piano rolls, to take batches of stretches from."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rtsep_export.features import TRANSCRIBER_HOP
from rtsep_export.note_rolls import COLUMN, N_NOTES, rolls
from rtsep_export.rendered import Audio, RenderedSongs
from rtsep_export.stems import STEMS

# What the largest sample of a file is read as 1.
FULL_SCALE = 32767
# For each stretch, the song and first sample of every stem that plays.
Places = Sequence[Mapping[str, tuple[int, int]]]


class Stored(Protocol):
    """Songs, each of which has some of the stems."""

    having: dict[str, list[int]]

    def length(self, index: int, /) -> int:
        """Samples of a song."""

    def part(self, index: int, stem: str, start: int, samples: int, /) -> Audio:
        """A part of a stem, ``[2, samples]``."""


class StoredSongs:
    """All stems of some songs in a device's memory, 16 bits a sample.

    Parameters
    ----------
    least : int
        Samples that can be taken from any place; what is shorter is followed by silence.
    """

    def __init__(self, songs: Stored, least: int, device: torch.device) -> None:
        self.device = device
        keys = [(index, stem) for stem, numbers in songs.having.items() for index in numbers]
        # Silence first, for a stem that is absent; then one part after another.
        lengths = [least, *(max(songs.length(index), least) for index, _ in keys)]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        self.first = {key: int(start) for key, start in zip(keys, starts[1:-1], strict=True)}
        self.samples = torch.zeros(2, int(starts[-1]), dtype=torch.int16, device=device)
        with ThreadPoolExecutor() as pool:
            parts = pool.map(lambda key: _whole(songs, *key), keys)
            for part, start in zip(parts, starts[1:-1], strict=True):
                self.samples[:, start : start + part.shape[1]] = torch.from_numpy(part)

    def stems(self, places: Places, samples: int) -> Tensor:
        """The stems at some places, ``[batch, n_stems, 2, samples]``; silence where there is none.

        Each place is a song and a sample for every stem that plays.
        """
        starts = [
            [self.first[p[s][0], s] + p[s][1] if s in p else 0 for s in STEMS] for p in places
        ]
        return self._from(torch.tensor(starts), samples)

    def parts(self, places: Sequence[tuple[int, str, int]], samples: int) -> Tensor:
        """Some samples of stems, given by song, stem and first sample, ``[places, 2, samples]``."""
        starts = [self.first[song, stem] + start for song, stem, start in places]
        return self._from(torch.tensor(starts), samples)

    def _from(self, starts: Tensor, samples: int) -> Tensor:
        within = starts.to(self.device)[..., None] + torch.arange(samples, device=self.device)
        return self.samples[:, within].movedim(0, -2).float() / FULL_SCALE


def _whole(songs: Stored, index: int, stem: str) -> npt.NDArray[np.int16]:
    audio = songs.part(index, stem, 0, songs.length(index))
    return np.round(audio * FULL_SCALE).astype(np.int16)


class Rolls:
    """Piano rolls of a batch.

    Parameters
    ----------
    stored : StoredRolls
        Those of all songs.
    first : ``[batch, n_stems]``
        Where each stem's begin among them.
    """

    def __init__(self, stored: "StoredRolls", first: Tensor) -> None:
        self._stored, self._first = stored, first

    def part(self, skip: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Onset, activity and velocity, ``[batch, frames, N_NOTES]``, after the first `skip`."""
        stored = self._stored.rolls
        device = stored.device
        stem_of = torch.empty(N_NOTES, dtype=torch.long)
        for (stem, _), column in COLUMN.items():
            stem_of[column] = STEMS.index(stem)
        first = self._first[:, stem_of].to(device) + skip
        rows = first[:, None] + torch.arange(frames, device=device)[:, None]
        onset, frame, velocity = stored[:, rows, torch.arange(N_NOTES, device=device)].float()
        return onset / 255, frame / 255, velocity / 255


class StoredRolls:
    """Piano rolls of all songs in a device's memory; arguments as of `StoredSongs`."""

    def __init__(self, songs: RenderedSongs, least: int, device: torch.device) -> None:
        self._songs, self._device = songs, device
        lengths = [least, *(max(songs.length(index), least) for index in range(len(songs)))]
        self._starts = np.concatenate([[0], np.cumsum([n // TRANSCRIBER_HOP for n in lengths])])

    @cached_property
    def rolls(self) -> Tensor:
        """Onset, activity and velocity of all songs, one after another, in bytes.

        ``[3, frames, N_NOTES]``; worked out when somebody asks, as a separator does not.
        """
        stored = np.zeros((3, int(self._starts[-1]), N_NOTES), np.uint8)
        for index, (start, end) in enumerate(pairwise(self._starts[1:])):
            found = rolls(self._songs.notes(index), int(end - start))
            stored[:, start:end] = np.round(np.stack(found) * 255)
        return torch.from_numpy(stored).to(self._device)

    def at(self, places: Places) -> Rolls:
        """Those at some places, whose samples are multiples of `TRANSCRIBER_HOP`."""

        def row(place: Mapping[str, tuple[int, int]], stem: str) -> int:
            if stem not in place:
                return 0
            index, start = place[stem]
            return int(self._starts[1 + index]) + start // TRANSCRIBER_HOP

        first = [[row(place, stem) for stem in STEMS] for place in places]
        return Rolls(self, torch.tensor(first))
