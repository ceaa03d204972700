"""Batches of four-second clips: mixtures, scores and, for those who may, the sources."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rtsep_export.devices import CPU
from rtsep_export.features import equaliser_db
from rtsep_export.scores.losses import piano_roll
from rtsep_export.scores.networks import FRAME_S, N_BINS, spectra
from rtsep_export.scores.songs import CLIP_S, SAMPLE_RATE, Stems, StoredSong, cut

# Spread of the level and of the equaliser's cosines over the logarithm of the frequency.
EQUALISER_DB = (4.0, 3.0, 3.0, 2.0)
LOWEST_HZ = 40.0


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


def coloured(batch: Batch, rng: np.random.Generator) -> Batch:
    """The batch with another level and another smooth equaliser for each clip.

    Mixture and sources are filtered alike, so the masks and scores stay what they are.
    """
    depth_db = rng.normal(0.0, EQUALISER_DB, (len(batch.mixture), len(EQUALISER_DB)))
    octaves = np.log2(np.linspace(0.0, SAMPLE_RATE / 2, N_BINS).clip(LOWEST_HZ) / LOWEST_HZ)
    gain_db = equaliser_db(depth_db, octaves / octaves[-1])
    gain = torch.from_numpy(10 ** (gain_db / 20)).float().to(batch.mixture.device)
    sources = None if batch.sources is None else batch.sources * gain[:, None, :, None]
    return Batch(batch.mixture * gain[:, :, None], batch.score, sources)


def _magnitudes(sounds: Sequence[Stems], device: torch.device) -> Tensor:
    return spectra(torch.from_numpy(np.stack(sounds)).to(device)).abs()


class Clips:
    """All clips of some songs in which something plays."""

    def __init__(self, songs: Sequence[StoredSong]) -> None:
        self.songs = songs
        self.places = [
            (s, c) for s, song in enumerate(songs) for c in range(song.clips) if song.clip_notes(c)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def batch(
        self, numbers: Sequence[int], device: torch.device = CPU, *, sources: bool = False
    ) -> Batch:
        """The clips with these numbers, with sources to learn from where asked for."""
        mixtures, scores, targets = [], [], []
        for number in numbers:
            index, clip = self.places[number]
            song = self.songs[index]
            sound, notes = song.clip(clip)
            mixtures.append(sound.sum(0))
            scores.append(notes)
            if sources:
                targets.append(sound if song.targets is None else cut(song.targets, clip))
        mixture = _magnitudes(mixtures, device)
        frames = mixture.shape[-1]
        return Batch(
            mixture,
            torch.stack([piano_roll(notes, frames) for notes in scores]).to(device),
            _magnitudes(targets, device) if sources else None,
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
