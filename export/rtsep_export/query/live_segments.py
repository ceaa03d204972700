"""What the live query model learns from: mixes, and examples of one of their stems.

A mix is one of the separator's (`rtsep_export.mixes`); what is asked for is one of its
stems, by an excerpt of the same stem from another moment of its song, or now and then by
one of a song that is not in the mix, for which nothing is the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtsep.rates import REFERENCE_RATE
from rtsep_export.device_mixes import DeviceMixes, varied_batch
from rtsep_export.features import (
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    features,
    mask_targets,
    target_frames,
)
from rtsep_export.mixes import Arrays, assembled, mono_at, random_places, varied
from rtsep_export.query.networks import SAMPLE_RATE, spectrogram
from rtsep_export.rendered import Audio, RenderedSongs
from rtsep_export.segments import HISTORY
from rtsep_export.stems import STEMS

EXAMPLE_S = 3.0
ABSENT = 0.15
SILENT = 1e-3
# Places that are looked at for an excerpt that sounds.
TRIES = 6


@dataclass(frozen=True)
class Question:
    """Which stem of which song is asked for, and whether the mix is to lack it."""

    stem: str
    song: int
    removed: bool


def question(
    songs: RenderedSongs, places: Mapping[str, tuple[int, int]], rng: np.random.Generator
) -> Question:
    """What is asked for of a mix of stems from some places (song and sample)."""
    stem = str(rng.choice(sorted(places)))
    if rng.random() >= ABSENT:
        return Question(stem, places[stem][0], removed=False)
    # Of a kind that is not in this mix, or of another song's.
    stem = str(rng.choice([s for s in STEMS if songs.having[s]]))
    song = int(rng.choice(songs.having[stem]))
    return Question(stem, song, removed=stem in places and places[stem][0] != song)


@dataclass(frozen=True)
class QuerySegments:
    """Random mixes, each with a stem that is asked for and two examples of it."""

    frames: int

    @property
    def samples(self) -> int:
        """Length of a mix."""
        return HISTORY + (self.frames + 1) * SEPARATOR_HOP

    def __call__(self, songs: RenderedSongs, rng: np.random.Generator) -> Arrays:
        """``features``, ``energy``, ``ratio``, ``floor`` and ``examples`` ``[2, T, BINS]``."""
        places = random_places(songs, self.samples, rng)
        stems, _ = assembled(songs, places, self.samples, rng)
        asked = question(songs, places, rng)
        row = STEMS.index(asked.stem)
        if asked.removed:
            stems[row] = 0.0
        examples = np.stack([excerpt(songs, asked.song, asked.stem, rng) for _ in range(2)])
        return self.arrays(torch.from_numpy(stems), torch.from_numpy(stems[row])) | {
            "examples": spectrogram(torch.from_numpy(examples))
        }

    def arrays(self, stems: Tensor, target: Tensor) -> Arrays:
        """All but the examples, of stems ``[..., n_stems, 2, samples]`` and the one asked for."""
        mix = stems.sum(-3)
        parts = torch.stack([target, mix - target], dim=-3)
        heard = mix[..., : HISTORY + self.frames * SEPARATOR_HOP]
        hop, first_end = target_frames("live")
        found = mask_targets(parts, "live", 2 * hop, HISTORY + first_end, 1.0)
        skip = HISTORY // SEPARATOR_HOP
        arrays = {"features": features(heard, SEPARATOR_FRONT_ENDS, SEPARATOR_HOP, skip=skip)}
        frames_at = stems.ndim - 3
        for name, array in zip(("energy", "ratio", "floor"), found, strict=True):
            arrays[name] = array.repeat_interleave(2, frames_at).narrow(frames_at, 0, self.frames)
        return arrays


def excerpt(songs: RenderedSongs, index: int, stem: str, rng: np.random.Generator) -> Audio:
    """Some seconds of a stem that sounds, varied, one channel at `SAMPLE_RATE`."""
    samples = round(EXAMPLE_S * REFERENCE_RATE)
    for _ in range(TRIES):
        start = int(rng.integers(max(songs.length(index) - samples, 0) + 1))
        audio = songs.part(index, stem, start, samples)
        if np.sqrt(np.mean(audio**2)) > SILENT:
            break
    return mono_at(varied(audio, rng), SAMPLE_RATE, round(EXAMPLE_S * SAMPLE_RATE))


class DeviceQueryMixes(DeviceMixes[QuerySegments]):
    """The same, a batch at a time, made of songs in a device's memory."""

    def __init__(
        self, folder: Path, prepare: QuerySegments, batch: int, device: torch.device
    ) -> None:
        super().__init__(folder, prepare, batch, device, round(EXAMPLE_S * REFERENCE_RATE))

    def fresh(self, count: int, rng: np.random.Generator) -> Arrays:
        """So many of them, with one more axis in front."""
        places = [random_places(self.songs, self.prepare.samples, rng) for _ in range(count)]
        stems = varied_batch(self.audio.stems(places, self.prepare.samples), rng)
        asked = [question(self.songs, place, rng) for place in places]
        rows = [STEMS.index(a.stem) for a in asked]
        for mix, (row, a) in enumerate(zip(rows, asked, strict=True)):
            if a.removed:
                stems[mix, row] = 0.0
        target = stems[
            torch.arange(count, device=stems.device), torch.tensor(rows).to(stems.device)
        ]
        examples = torch.stack([self._excerpts(asked, rng) for _ in range(2)], dim=1)
        return self.prepare.arrays(stems, target) | {"examples": spectrogram(examples)}

    def _excerpts(self, asked: list[Question], rng: np.random.Generator) -> Tensor:
        """One of each stem that is asked for, ``[batch, samples]``; as of `excerpt`."""
        samples = round(EXAMPLE_S * REFERENCE_RATE)
        tried = []
        for a in asked:
            last = max(self.songs.length(a.song) - samples, 0)
            starts = rng.integers(last + 1, size=TRIES)
            tried += [(a.song, a.stem, int(start)) for start in starts]
        audio = self.audio.parts(tried, samples).unflatten(0, (-1, TRIES))
        sounds = audio.square().mean((-2, -1)).sqrt() > SILENT
        sounds[:, -1] = True
        first = sounds.float().argmax(1)
        chosen = audio[torch.arange(len(asked), device=first.device), first]
        mono = varied_batch(chosen[:, None], rng)[:, 0].mean(1)
        # Of the spectrum, as much as the lower rate has.
        length = round(EXAMPLE_S * SAMPLE_RATE)
        lower = torch.fft.rfft(mono)[:, : length // 2 + 1]
        return torch.fft.irfft(lower, length) * (length / samples)
