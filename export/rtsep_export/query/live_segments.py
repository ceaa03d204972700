"""What the live query model learns from: mixes, and examples of one of their voices.

A mix is one of the separator's (`rtsep_export.mixes`), or one with solos beside its stems,
or of solos alone; what is asked for is one of its voices, by an excerpt of the same voice
from another moment, or now and then by one that is not in the mix, for which nothing is
the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtsep.rates import REFERENCE_RATE
from rtsep_export.device_mixes import DeviceMixes, varied_batch
from rtsep_export.device_songs import StoredSongs
from rtsep_export.features import (
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    features,
    mask_targets,
    target_frames,
)
from rtsep_export.mixes import MONO, Arrays, mono_at, random_places, varied
from rtsep_export.query.networks import SAMPLE_RATE, spectrogram
from rtsep_export.query.solos import Solos
from rtsep_export.rendered import Audio, RenderedSongs
from rtsep_export.segments import HISTORY
from rtsep_export.stems import STEMS

EXAMPLE_S = 3.0
ABSENT = 0.15
SILENT = 1e-3
# Places that are looked at for an excerpt that sounds.
TRIES = 6
# How often a mix is of a song's stems alone, has solos besides, or is of solos alone; and
# how many solos, at least and at most.
SONG, BOTH = 0.35, 0.3
FEW, ENSEMBLE = (1, 2), (2, 4)
# How often a solo's example is another solo of that instrument.
OTHER_SOLO = 0.25


@dataclass(frozen=True)
class Voice:
    """A stem of a song from some sample on, or a solo.

    Attributes
    ----------
    name : str
        Of the stem, or of the instrument.
    number : int
        Of the song or solo.
    """

    solo: bool
    name: str
    number: int
    start: int = 0


@dataclass(frozen=True)
class Question:
    """A mix and what is asked of it.

    Attributes
    ----------
    voices : tuple of Voice
        Of the mix.
    asked : int or None
        Which of them; None where it is none.
    example : Voice
        By whose sound it is asked for, from any place.
    """

    voices: tuple[Voice, ...]
    asked: int | None
    example: Voice


def question(
    songs: RenderedSongs, solos: Solos, samples: int, rng: np.random.Generator
) -> Question:
    """Draw a mix of so many samples, and what is asked of it."""
    voices: list[Voice] = []
    kind = rng.random()
    if kind < SONG + BOTH:
        places = random_places(songs, samples, rng)
        voices += [Voice(False, stem, *places[stem]) for stem in STEMS if stem in places]
    if kind >= SONG:
        fewest, most = FEW if kind < SONG + BOTH else ENSEMBLE
        count = min(int(rng.integers(fewest, most + 1)), len(solos.having))
        for name in rng.choice(sorted(solos.having), count, replace=False):
            number = int(rng.choice(solos.having[str(name)]))
            start = int(rng.integers(max(solos.length(number) - samples, 0) + 1))
            voices.append(Voice(True, str(name), number, start))
    asked = int(rng.integers(len(voices)))
    example = voices[asked]
    if rng.random() < ABSENT:
        having = solos.having if example.solo else songs.having
        name = str(rng.choice([name for name in having if having[name]]))
        example = Voice(example.solo, name, int(rng.choice(having[name])))
        # Nobody could tell whether another of that name is meant.
        alike = (example.solo, example.name)
        return Question(tuple(v for v in voices if (v.solo, v.name) != alike), None, example)
    if example.solo and rng.random() < OTHER_SOLO:
        example = replace(example, number=int(rng.choice(solos.having[example.name])))
    return Question(tuple(voices), asked, example)


@dataclass(frozen=True)
class QuerySegments:
    """Random mixes, each with a voice that is asked for and two examples of it."""

    frames: int
    solos: Solos

    @property
    def samples(self) -> int:
        """Length of a mix."""
        return HISTORY + (self.frames + 1) * SEPARATOR_HOP

    def __call__(self, songs: RenderedSongs, rng: np.random.Generator) -> Arrays:
        """``features``, ``energy``, ``ratio``, ``floor`` and ``examples`` ``[2, T, BINS]``."""
        drawn = question(songs, self.solos, self.samples, rng)
        stems = np.zeros((max(len(drawn.voices), 1), 2, self.samples), np.float32)
        for row, voice in enumerate(drawn.voices):
            source = self.solos if voice.solo else songs
            part = source.part(voice.number, voice.name, voice.start, self.samples)
            stems[row] = varied(part, rng)
        if rng.random() < MONO:
            stems[:] = stems.mean(axis=1, keepdims=True)
        target = np.zeros_like(stems[0]) if drawn.asked is None else stems[drawn.asked]
        among = self.solos if drawn.example.solo else songs
        examples = np.stack([excerpt(among, drawn.example, rng) for _ in range(2)])
        return self.arrays(torch.from_numpy(stems), torch.from_numpy(target)) | {
            "examples": spectrogram(torch.from_numpy(examples))
        }

    def arrays(self, stems: Tensor, target: Tensor) -> Arrays:
        """All but the examples, of voices ``[..., n, 2, samples]`` and the one asked for."""
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


def excerpt(songs: RenderedSongs | Solos, voice: Voice, rng: np.random.Generator) -> Audio:
    """Some seconds in which a voice sounds, varied, one channel at `SAMPLE_RATE`."""
    samples = round(EXAMPLE_S * REFERENCE_RATE)
    for _ in range(TRIES):
        start = int(rng.integers(max(songs.length(voice.number) - samples, 0) + 1))
        audio = songs.part(voice.number, voice.name, start, samples)
        if np.sqrt(np.mean(audio**2)) > SILENT:
            break
    return mono_at(varied(audio, rng), SAMPLE_RATE, round(EXAMPLE_S * SAMPLE_RATE))


class DeviceQueryMixes(DeviceMixes[QuerySegments]):
    """The same, a batch at a time, made of songs and solos in a device's memory."""

    def __init__(
        self, folder: Path, prepare: QuerySegments, batch: int, device: torch.device
    ) -> None:
        least = round(EXAMPLE_S * REFERENCE_RATE)
        super().__init__(folder, prepare, batch, device, least)
        self._solo_audio = StoredSongs(prepare.solos, max(prepare.samples, least), device)

    def fresh(self, count: int, rng: np.random.Generator) -> Arrays:
        """So many of them, with one more axis in front."""
        solos, samples = self.prepare.solos, self.prepare.samples
        drawn = [question(self.songs, solos, samples, rng) for _ in range(count)]
        most = max(1, *(len(q.voices) for q in drawn))
        voices = [[*q.voices, *[None] * (most - len(q.voices))] for q in drawn]
        every = [voice for row in voices for voice in row]
        stems = varied_batch(self._parts(every, samples).unflatten(0, (count, most)), rng)
        rows = [0 if q.asked is None else q.asked for q in drawn]
        target = stems[torch.arange(count).to(stems.device), torch.tensor(rows).to(stems.device)]
        there = torch.tensor([float(q.asked is not None) for q in drawn]).to(stems.device)
        examples = [self._excerpts([q.example for q in drawn], rng) for _ in range(2)]
        return self.prepare.arrays(stems, target * there[:, None, None]) | {
            "examples": spectrogram(torch.stack(examples, dim=1))
        }

    def _parts(self, voices: Sequence[Voice | None], samples: int) -> Tensor:
        """Some samples of voices, silence for None, ``[voices, 2, samples]``."""
        found = torch.zeros(len(voices), 2, samples, device=self.audio.device)
        for solo, stored in ((False, self.audio), (True, self._solo_audio)):
            mine = [(row, v) for row, v in enumerate(voices) if v is not None and v.solo == solo]
            if mine:
                places = [(v.number, v.name, v.start) for _, v in mine]
                rows = torch.tensor([row for row, _ in mine]).to(found.device)
                found[rows] = stored.parts(places, samples)
        return found

    def _excerpts(self, asked: list[Voice], rng: np.random.Generator) -> Tensor:
        """One of each voice that is asked for, ``[batch, samples]``; as of `excerpt`."""
        samples = round(EXAMPLE_S * REFERENCE_RATE)
        tried = []
        for voice in asked:
            among = self.prepare.solos if voice.solo else self.songs
            last = max(among.length(voice.number) - samples, 0)
            starts = rng.integers(last + 1, size=TRIES)
            tried += [replace(voice, start=int(start)) for start in starts]
        audio = self._parts(tried, samples).unflatten(0, (-1, TRIES))
        sounds = audio.square().mean((-2, -1)).sqrt() > SILENT
        sounds[:, -1] = True
        first = sounds.float().argmax(1)
        chosen = audio[torch.arange(len(asked), device=first.device), first]
        mono = varied_batch(chosen[:, None], rng)[:, 0].mean(1)
        # Of the spectrum, as much as the lower rate has.
        length = round(EXAMPLE_S * SAMPLE_RATE)
        lower = torch.fft.rfft(mono)[:, : length // 2 + 1]
        return torch.fft.irfft(lower, length) * (length / samples)
