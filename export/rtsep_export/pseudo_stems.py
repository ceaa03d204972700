"""Stems of a mixture from its score: factorisation led by the notes, and by a network.

Every note that the score holds gets a spectrum, which starts as a comb of harmonics, and
a level over time, which is nothing where the score has no such note; both are then fitted
to the mixture's magnitudes by the multiplicative updates of the Kullback-Leibler
divergence (Lee and Seung 2001; score-informed: Ewert and Müller 2012).  Its masks are
multiplied with a network's, which knows timbres where the score knows times and pitches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pretty_midi
import torch
from torch import Tensor

from rtsep_export.rendered import Notes

ITERATIONS = 40
BEFORE_S, RELEASE_S, STROKE_S = 0.04, 0.2, 0.5
# Exponent of the network's masks beside the score's.
TRUST = 0.7
EPSILON = 1e-7


@dataclass(frozen=True)
class Grid:
    """The short-time transform that the factorisation works on.

    Attributes
    ----------
    n_fft, hop : int
        Window and hop in samples of `sample_rate`.
    """

    n_fft: int
    hop: int
    sample_rate: int

    @property
    def bins_hz(self) -> npt.NDArray[np.float64]:
        """The bins' frequencies."""
        return np.arange(self.n_fft // 2 + 1) * self.sample_rate / self.n_fft

    def times_s(self, samples: int) -> npt.NDArray[np.float64]:
        """The middles of all frames of some samples."""
        return np.arange(samples // self.hop + 1) * self.hop / self.sample_rate

    def spectrum(self, audio: Tensor) -> Tensor:
        """``[..., samples]`` to ``[..., bins, frames]``."""
        window = torch.hann_window(self.n_fft)
        return torch.stft(audio, self.n_fft, self.hop, window=window, return_complex=True)

    def audio(self, spectrum: Tensor, samples: int) -> Tensor:
        """The inverse of `spectrum`."""
        window = torch.hann_window(self.n_fft)
        return torch.istft(spectrum, self.n_fft, self.hop, window=window, length=samples)


def pseudo_stems(
    mix: Tensor,
    notes: Notes,
    masks: Tensor,
    grid: Grid,
    stems: Sequence[str],
    *,
    slack_s: float = 0.0,
) -> Tensor:
    """Split a mixture.

    Parameters
    ----------
    mix : ``[channels, samples]``
    notes : list of (str, int, float, float, int)
        Stem, pitch, onset and offset in seconds of the mixture, velocity.
    masks : ``[n_stems, bins, frames]``
        A network's, on `grid`.  A stem without a note is left to it.
    stems : sequence of str
        Names, in the order of `masks`.
    slack_s : float
        How far off the notes' times may be.

    Returns
    -------
    Tensor
        ``[n_stems, channels, samples]``; they add up to the mixture.
    """
    spectrum = grid.spectrum(mix)
    magnitude = spectrum.abs().square().sum(0).sqrt()
    times = grid.times_s(mix.shape[-1])
    owners, shapes, levels = components(notes, times, grid, stems, slack_s)
    silent = torch.tensor([i not in owners for i in range(len(stems))])
    rest = (masks * silent[:, None, None]).sum(0) * magnitude
    shapes, levels = factorise(magnitude, shapes, levels, rest)
    parts = masks**TRUST * 1e-3
    for stem in range(len(stems)):
        own = torch.from_numpy(owners == stem)
        if silent[stem]:
            share = masks[stem]
        else:
            share = shapes[:, own] @ levels[own] / (magnitude + EPSILON)
        parts[stem] += share * masks[stem] ** TRUST
    parts /= parts.sum(0, keepdim=True) + EPSILON
    return torch.stack([grid.audio(part * spectrum, mix.shape[-1]) for part in parts])


def components(
    notes: Notes,
    times: npt.NDArray[np.float64],
    grid: Grid,
    stems: Sequence[str],
    slack_s: float,
) -> tuple[npt.NDArray[np.int64], Tensor, Tensor]:
    """Where the fit starts from: owners ``[k]``, spectra ``[bins, k]``, levels ``[k, frames]``."""
    played: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for stem, pitch, onset, offset, _ in notes:
        played.setdefault((stem, pitch), []).append((onset, offset))
    owners, shapes, levels = [], [], []
    for (stem, pitch), spans in sorted(played.items()):
        level = np.zeros(len(times), np.float32)
        for onset, offset in spans:
            last = onset + STROKE_S if stem == "drums" else offset + RELEASE_S
            level[(times >= onset - BEFORE_S - slack_s) & (times < last + slack_s)] = 1.0
        owners.append(stems.index(stem))
        shapes.append(_noise(pitch, grid) if stem == "drums" else _comb(pitch, grid))
        levels.append(level)
    if not owners:
        empty = torch.zeros(len(grid.bins_hz), 0), torch.zeros(0, len(times))
        return np.zeros(0, np.int64), *empty
    columns = torch.from_numpy(np.stack(shapes, axis=1))
    return np.array(owners), columns, torch.from_numpy(np.stack(levels))


def _comb(pitch: int, grid: Grid) -> npt.NDArray[np.float32]:
    """A harmonic spectrum that falls with the harmonic's number."""
    bins = grid.bins_hz
    shape = np.full(len(bins), 1e-9, np.float32)
    base = float(pretty_midi.note_number_to_hz(pitch))
    for harmonic in range(1, int(0.45 * grid.sample_rate / base) + 1):
        middle = harmonic * base
        shape[np.abs(bins - middle) < max(1.6 * bins[1], 0.012 * middle)] = 1.0 / harmonic
    return shape / shape.sum()


def _noise(key: int, grid: Grid) -> npt.NDArray[np.float32]:
    """A flat spectrum, a little uneven so that two drums can part ways."""
    count = len(grid.bins_hz)
    shape = 1.0 + 0.2 * np.random.default_rng(key).random(count).astype(np.float32)
    flat: npt.NDArray[np.float32] = shape / shape.sum()
    return flat


def factorise(
    magnitude: Tensor, shapes: Tensor, levels: Tensor, rest: Tensor
) -> tuple[Tensor, Tensor]:
    """Fit ``shapes @ levels + rest`` to the magnitudes; zeros stay zeros."""
    if not levels.numel():
        return shapes, levels
    levels = levels * magnitude.mean() * len(magnitude) * 4 / len(levels)
    for _ in range(ITERATIONS):
        ratio = magnitude / (shapes @ levels + rest + EPSILON)
        levels = levels * (shapes.T @ ratio) / (shapes.sum(0)[:, None] + EPSILON)
        ratio = magnitude / (shapes @ levels + rest + EPSILON)
        shapes = shapes * (ratio @ levels.T) / (levels.sum(1) + EPSILON)
        scale = shapes.sum(0) + EPSILON
        shapes, levels = shapes / scale, levels * scale[:, None]
    return shapes, levels
