"""Stems of a mixture from its score: factorisation led by the notes, and by a network.

Every note that the score holds gets a spectrum, which starts as a comb of harmonics, and
a level over time, which is nothing where the score has no such note; both are then fitted
to the mixture's magnitudes by the multiplicative updates of the Kullback-Leibler
divergence (Lee and Seung 2001; score-informed: Ewert and Müller 2012).  Its masks are
multiplied with a network's, which knows timbres where the score knows times and pitches.
"""

import numpy as np
import numpy.typing as npt
import pretty_midi
import torch
from torch import Tensor

from rtsep_export.mixes import Notes
from rtsep_export.stems import STEMS

N_FFT, HOP = 4096, 1024
ITERATIONS = 40
BEFORE_S, RELEASE_S, STROKE_S = 0.04, 0.2, 0.5
# Exponent of the network's masks beside the score's.
TRUST = 0.7
EPSILON = 1e-7


def pseudo_stems(
    mix: Tensor, notes: Notes, masks: Tensor, sample_rate: int, *, slack_s: float = 0.0
) -> Tensor:
    """Split a mixture.

    Parameters
    ----------
    mix : ``[2, samples]``
    notes : list of (str, int, float, float, int)
        Stem, pitch, onset and offset in seconds of the mixture, velocity.
    masks : ``[n_stems, bins, frames]``
        A network's, on the grid of `grid`.  A stem without a note is left to it.
    slack_s : float
        How far off the notes' times may be.

    Returns
    -------
    Tensor
        ``[n_stems, 2, samples]``; they add up to the mixture.
    """
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(mix, N_FFT, HOP, window=window, center=True, return_complex=True)
    magnitude = spectrum.abs().square().sum(0).sqrt()
    owners, shapes, levels = components(notes, magnitude.shape[1], sample_rate, slack_s)
    silent = torch.tensor([i not in owners for i in range(len(STEMS))])
    rest = (masks * silent[:, None, None]).sum(0) * magnitude
    shapes, levels = factorise(magnitude, shapes, levels, rest)
    parts = masks**TRUST * 1e-3
    for stem in range(len(STEMS)):
        own = torch.from_numpy(owners == stem)
        if silent[stem]:
            share = masks[stem]
        else:
            share = shapes[:, own] @ levels[own] / (magnitude + EPSILON)
        parts[stem] += share * masks[stem] ** TRUST
    parts /= parts.sum(0, keepdim=True) + EPSILON
    stems = [
        torch.istft(part * spectrum, N_FFT, HOP, window=window, center=True, length=mix.shape[-1])
        for part in parts
    ]
    return torch.stack(stems)


def grid(samples: int, sample_rate: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bins in Hz and frames' middles in seconds of the masks that `pseudo_stems` takes."""
    bins = np.arange(N_FFT // 2 + 1) * sample_rate / N_FFT
    return bins, np.arange(samples // HOP + 1) * HOP / sample_rate


def components(
    notes: Notes, frames: int, sample_rate: int, slack_s: float
) -> tuple[npt.NDArray[np.int64], Tensor, Tensor]:
    """Where the fit starts from: owners ``[k]``, spectra ``[bins, k]``, levels ``[k, frames]``."""
    times = np.arange(frames) * HOP / sample_rate
    played: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for stem, pitch, onset, offset, _ in notes:
        played.setdefault((stem, pitch), []).append((onset, offset))
    owners, shapes, levels = [], [], []
    for (stem, pitch), spans in sorted(played.items()):
        level = np.zeros(frames, np.float32)
        for onset, offset in spans:
            last = onset + STROKE_S if stem == "drums" else offset + RELEASE_S
            level[(times >= onset - BEFORE_S - slack_s) & (times < last + slack_s)] = 1.0
        owners.append(STEMS.index(stem))
        shapes.append(_noise(pitch) if stem == "drums" else _comb(pitch, sample_rate))
        levels.append(level)
    if not owners:
        return np.zeros(0, np.int64), torch.zeros(N_FFT // 2 + 1, 0), torch.zeros(0, frames)
    columns = torch.from_numpy(np.stack(shapes, axis=1))
    return np.array(owners), columns, torch.from_numpy(np.stack(levels))


def _comb(pitch: int, sample_rate: int) -> npt.NDArray[np.float32]:
    """A harmonic spectrum that falls with the harmonic's number."""
    width = sample_rate / N_FFT
    bins = np.arange(N_FFT // 2 + 1) * width
    shape = np.full(len(bins), 1e-9, np.float32)
    base = float(pretty_midi.note_number_to_hz(pitch))
    for harmonic in range(1, int(0.45 * sample_rate / base) + 1):
        middle = harmonic * base
        shape[np.abs(bins - middle) < max(1.6 * width, 0.012 * middle)] = 1.0 / harmonic
    return shape / shape.sum()


def _noise(key: int) -> npt.NDArray[np.float32]:
    """A flat spectrum, a little uneven so that two drums can part ways."""
    shape = 1.0 + 0.2 * np.random.default_rng(key).random(N_FFT // 2 + 1).astype(np.float32)
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
