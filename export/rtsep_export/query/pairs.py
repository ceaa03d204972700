"""Mixtures of two parts, each with an example of the part that is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rtsep_export.devices import CPU
from rtsep_export.features import equaliser_db
from rtsep_export.query.networks import BINS, HOP, SAMPLE_RATE, spectrum
from rtsep_export.query.parts import Part, labels, load_parts

# Spread of level and equaliser over the logarithm of the frequency, as cosines.
EQUALISER_DB = (4.0, 3.0, 3.0, 2.0)
LOWEST_HZ = 60.0
# Below this, in full scale RMS, a clip is silent and no example.
SILENT = 1e-3
SOURCES = 3
TEST_S = 4.0

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Some pairs.

    Attributes
    ----------
    mixture, twin : ``[batch, 1, frames, BINS]``
        Magnitudes; in the twin the source asked for is moved in pitch (equation 17).
    source : ``[batch, 1, frames, BINS]``
    classes : ``[batch, frames]``
        What the source plays in the mixture.
    examples : ``[2, batch, SOURCES, frames, BINS]``
        Two clips each of the source, of the other, and of a third instrument.
    """

    mixture: Tensor
    twin: Tensor
    source: Tensor
    classes: Tensor
    examples: Tensor


class Pairs:
    """Random pairs of the parts in a folder.

    Parameters
    ----------
    folder : Path
        What `rtsep_export.query.parts` wrote for a split.
    seconds : float
        Length of a clip.
    """

    def __init__(self, folder: Path, seconds: float = 3.0) -> None:
        self.parts = load_parts(folder)
        self.samples = round(seconds * SAMPLE_RATE / HOP) * HOP

    def draw(self, size: int, rng: np.random.Generator, device: torch.device = CPU) -> Batch:
        """A batch of `size` pairs of different instruments."""
        items = [self._pair(rng) for _ in range(size)]
        clips, classes = (torch.stack(part).to(device) for part in zip(*items, strict=True))
        # [batch, clip, frames, bins]; a source, its examples and its twin sound alike.
        spectra = spectrum(clips)
        gains = _gains(size, rng).to(device)
        source, other, twin = (
            spectra[:, k] * gains[:, owner, None] for k, owner in ((0, 0), (1, 1), (2, 0))
        )
        examples = spectra[:, 3:].unflatten(1, (2, SOURCES)) * gains[:, None, :, None]
        return Batch(
            (source + other).abs()[:, None],
            (twin + other).abs()[:, None],
            source.abs()[:, None],
            classes,
            examples.abs().transpose(0, 1),
        )

    def _pair(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Source, other, twin and examples, ``[3 + 2 * SOURCES, samples]``, and classes."""
        names = rng.choice(sorted(self.parts), SOURCES, replace=False)
        parts = [self.parts[n][int(rng.integers(len(self.parts[n])))] for n in names]
        rows = [int(rng.integers(len(part.samples))) for part in parts]
        twin_row = int(rng.integers(len(parts[0].samples)))
        begin, other_begin = self._start(parts[0], rng), self._start(parts[1], rng)
        clips = [
            self._clip(parts[0], rows[0], begin),
            self._clip(parts[1], rows[1], other_begin),
            self._clip(parts[0], twin_row, begin),
        ]
        clips += [
            self._sounding(part, row, rng)
            for _ in range(2)
            for part, row in zip(parts, rows, strict=True)
        ]
        frames = self.samples // HOP + 1
        classes = labels(parts[0].notes[rows[0]], begin / SAMPLE_RATE, frames)
        return torch.from_numpy(np.stack(clips)), torch.from_numpy(classes)

    def _start(self, part: Part, rng: np.random.Generator) -> int:
        return int(rng.integers(max(part.samples.shape[1] - self.samples, 0) + 1))

    def _clip(self, part: Part, row: int, start: int) -> Audio:
        return cut(part, row, start, self.samples)

    def _sounding(self, part: Part, row: int, rng: np.random.Generator) -> Audio:
        for _ in range(8):
            clip = self._clip(part, row, self._start(part, rng))
            if np.sqrt(np.mean(clip**2)) > SILENT:
                break
        return clip


def cut(part: Part, row: int, start: int, samples: int) -> Audio:
    """Some samples of a part in [-1, 1], zeros after its end."""
    found = part.samples[row, start : start + samples].astype(np.float32) / np.float32(32768)
    return np.pad(found, (0, samples - len(found)))


def _gains(size: int, rng: np.random.Generator) -> Tensor:
    """Another level and smooth equaliser for each source, ``[size, SOURCES, BINS]``."""
    depth_db = rng.normal(0.0, EQUALISER_DB, (size, SOURCES, len(EQUALISER_DB)))
    hz = np.linspace(0.0, SAMPLE_RATE / 2, BINS, endpoint=False).clip(LOWEST_HZ)
    octaves = np.log2(hz / LOWEST_HZ)
    gain_db = equaliser_db(depth_db, octaves / octaves[-1])
    return torch.from_numpy((10 ** (gain_db / 20)).astype(np.float32))


@dataclass(frozen=True)
class Asked:
    """A mixture of which one part is asked for.

    Attributes
    ----------
    instrument, other : str
    source, mixture, example : float32 arrays, shape (samples,)
    classes : int64 array, shape (frames,)
    """

    instrument: str
    other: str
    source: Audio
    mixture: Audio
    example: Audio
    classes: npt.NDArray[np.int64]


def fixed_pairs(folder: Path, per_instrument: int) -> Iterator[Asked]:
    """The same pairs each time: every instrument asked for as often, beside all others."""
    parts = load_parts(folder)
    rng, samples = np.random.default_rng(21), round(TEST_S * SAMPLE_RATE)
    for name in sorted(parts):
        others = [other for other in sorted(parts) if other != name]
        for number in range(per_instrument):
            part = parts[name][number % len(parts[name])]
            other = others[number % len(others)]
            second = parts[other][int(rng.integers(len(parts[other])))]
            start, other_start = (_busy(p, samples, rng) for p in (part, second))
            source = cut(part, 0, start, samples)
            yield Asked(
                name,
                other,
                source,
                source + cut(second, 0, other_start, samples),
                cut(part, 0, _apart(part, start, samples), samples),
                labels(part.notes[0], start / SAMPLE_RATE, samples // HOP + 1),
            )


def _busy(part: Part, samples: int, rng: np.random.Generator) -> int:
    """Where the most notes begin, among a few random places."""
    last = max(part.samples.shape[1] - samples, 0)
    places: Sequence[int] = [int(p) for p in rng.integers(last + 1, size=4)]

    def begun(place: int) -> int:
        span = (place / SAMPLE_RATE, (place + samples) / SAMPLE_RATE)
        return sum(span[0] <= note.onset < span[1] for note in part.notes[0])

    return max(places, key=begun)


def _apart(part: Part, start: int, samples: int) -> int:
    """A place for the example, as far from `start` as there is."""
    last = max(part.samples.shape[1] - samples, 0)
    return 0 if start > last / 2 else last
