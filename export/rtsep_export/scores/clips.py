"""Batches of four-second clips: mixtures, scores and, for those who may, the sources."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rtsep_export.scores.losses import piano_roll
from rtsep_export.scores.networks import FRAME_S, spectra
from rtsep_export.scores.songs import CLIP_S, StoredSong


@dataclass(frozen=True)
class Batch:
    """Some clips.

    Attributes
    ----------
    mixture : ``[batch, bins, frames]``
        Magnitudes.
    score : ``[batch, instruments, notes, frames]``
    sources : ``[batch, instruments, bins, frames]`` or None
        Magnitudes, for the supervised separator alone.
    """

    mixture: Tensor
    score: Tensor
    sources: Tensor | None


class Clips:
    """All clips of some songs in which something plays."""

    def __init__(self, songs: Sequence[StoredSong]) -> None:
        self.songs = songs
        self.places = [
            (s, c) for s, song in enumerate(songs) for c in range(song.clips) if song.clip_notes(c)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, numbers: Sequence[int], *, sources: bool = False) -> Batch:
        """The clips with these numbers, with their sources where asked for."""
        stems, scores = [], []
        for number in numbers:
            song, clip = self.places[number]
            sound, notes = self.songs[song].clip(clip)
            stems.append(sound)
            scores.append(notes)
        audio = torch.from_numpy(np.stack(stems))
        mixture = spectra(audio.sum(1)).abs()
        frames = mixture.shape[-1]
        return Batch(
            mixture,
            torch.stack([piano_roll(notes, frames) for notes in scores]),
            spectra(audio).abs() if sources else None,
        )

    def batches(self, size: int, *, seed: Sequence[int] | None = None) -> Iterator[list[int]]:
        """Numbers of all clips in groups of up to `size`, shuffled where a seed is given."""
        order = np.arange(len(self))
        if seed is not None:
            np.random.default_rng(list(seed)).shuffle(order)
        for start in range(0, len(order), size):
            yield [int(n) for n in order[start : start + size]]

    @cached_property
    def activity(self) -> list[float]:
        """Share of the frames in which each instrument plays (paper: 0.67, 0.14, 0.41)."""
        frames = round(CLIP_S / FRAME_S)
        active = [
            piano_roll(self.songs[song].clip_notes(clip), frames).amax(1).mean(-1)
            for song, clip in self.places
        ]
        return [float(rate) for rate in torch.stack(active).mean(0)]
