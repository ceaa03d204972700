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
from rtsep_export.query.networks import BINS, HOP, SAMPLE_RATE, SILENCE, spectrum
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


@dataclass(frozen=True)
class _Row:
    """A part as it is, or moved in pitch, among all that are stored.

    Attributes
    ----------
    first : int
        Where it begins, in hops.
    energy : float array, shape (hops + 1,)
        Of all samples before every hop.
    """

    first: int
    energy: npt.NDArray[np.float64]


class Pairs:
    """Random pairs of the parts in a folder, made where the parts lie.

    Parameters
    ----------
    folder : Path
        What `rtsep_export.query.parts` wrote for a split.
    seconds : float
        Length of a clip.
    device : torch.device
        Whose memory takes all parts.
    """

    def __init__(self, folder: Path, seconds: float = 3.0, device: torch.device = CPU) -> None:
        self.hops, self.device = round(seconds * SAMPLE_RATE / HOP), device
        parts = load_parts(folder)
        # After each row there are as many zeros as a clip can need.
        lengths = {
            name: [-(-part.samples.shape[1] // HOP) + self.hops + 1 for part in some]
            for name, some in parts.items()
        }
        total = sum(
            length * len(part.samples)
            for name, some in parts.items()
            for length, part in zip(lengths[name], some, strict=True)
        )
        audio = torch.zeros(total * HOP, dtype=torch.int16)
        classes = torch.full((total,), SILENCE, dtype=torch.uint8)
        self.rows: dict[str, list[list[_Row]]] = {}
        first = 0
        for name, some in parts.items():
            self.rows[name] = []
            for length, part in zip(lengths[name], some, strict=True):
                rows = []
                for samples, notes in zip(part.samples, part.notes, strict=True):
                    here = audio[first * HOP :][: length * HOP]
                    here[: len(samples)] = torch.from_numpy(np.array(samples))
                    classes[first : first + length] = torch.from_numpy(labels(notes, 0.0, length))
                    energy = (here.double() / 32768).square().unflatten(0, (-1, HOP)).sum(1)
                    rows.append(_Row(first, np.append(0.0, energy.cumsum(0).numpy())))
                    first += length
                self.rows[name].append(rows)
        self._clips = audio.to(device).unfold(0, self.hops * HOP, HOP)
        self._classes = classes.to(device).unfold(0, self.hops + 1, 1)

    def draw(self, size: int, rng: np.random.Generator) -> Batch:
        """A batch of `size` pairs of different instruments."""
        places = torch.from_numpy(np.array([self._pair(rng) for _ in range(size)]))
        places = places.to(self.device)
        # [batch, clip, frames, bins]; a source, its examples and its twin sound alike.
        spectra = spectrum(self._clips[places].float() / 32768)
        gains = _gains(size, rng).to(self.device)
        source, other, twin = (
            spectra[:, k] * gains[:, owner, None] for k, owner in ((0, 0), (1, 1), (2, 0))
        )
        examples = spectra[:, 3:].abs().unflatten(1, (2, SOURCES)) * gains[:, None, :, None]
        return Batch(
            (source + other).abs()[:, None],
            (twin + other).abs()[:, None],
            source.abs()[:, None],
            self._classes[places[:, 0]].long(),
            examples.transpose(0, 1),
        )

    def _pair(self, rng: np.random.Generator) -> list[int]:
        """Where source, other, twin and examples begin, in hops, ``3 + 2 * SOURCES`` of them."""
        names = rng.choice(sorted(self.rows), SOURCES, replace=False)
        parts = [self.rows[n][int(rng.integers(len(self.rows[n])))] for n in names]
        rows = [part[int(rng.integers(len(part)))] for part in parts]
        twin = parts[0][int(rng.integers(len(parts[0])))]
        begin, other_begin = self._start(rows[0], rng), self._start(rows[1], rng)
        places = [rows[0].first + begin, rows[1].first + other_begin, twin.first + begin]
        return places + [row.first + self._sounding(row, rng) for _ in range(2) for row in rows]

    def _start(self, row: _Row, rng: np.random.Generator) -> int:
        """A place from which a clip does not reach past the end, but where the row is shorter."""
        hops = len(row.energy) - 1 - (self.hops + 1)
        return int(rng.integers(max(hops - self.hops, 0) + 1))

    def _sounding(self, row: _Row, rng: np.random.Generator) -> int:
        least = SILENT**2 * self.hops * HOP
        for _ in range(8):
            start = self._start(row, rng)
            if row.energy[start + self.hops] - row.energy[start] > least:
                break
        return start


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
