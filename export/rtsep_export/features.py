"""Training features and targets from rendered stems, computed once per mix.

The features are those of `rtsep.features`, computed here for whole files at once
(a test holds the two against each other).  The separator's target is the ideal mask
of every band: the real factor that brings the mix closest to the stem in the least
squares sense over the bins and channels of that band,

    R_i[b] = Σ Re(X* S_i) / Σ |X|²,

because for any mask m constant in the band the error is then exactly
``Ex (m - R_i)² + const`` with ``Ex = Σ |X|²``: training on these few numbers is
training on the signal-to-distortion ratio itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rtsep.bands import band_edges, band_matrix
from rtsep.manifest import FrontEnd, band_count
from rtsep.presets import PRESETS
from rtsep.rates import REFERENCE_RATE
from rtsep.windows import analysis_window

# Long enough to tell the semitones of a bass apart.
PITCH_FRONT_END = FrontEnd(
    n_fft=8192,
    synthesis=1024,
    min_hz=24.0,
    max_hz=9_000.0,
    min_width_hz=5.859375,
    ratio=2 ** (1 / 36),
    values=("level",),
)
# The masks are in the bands of the first.
SEPARATOR_FRONT_ENDS = (
    FrontEnd(
        n_fft=2048,
        synthesis=256,
        min_hz=-11.71875,
        max_hz=20_000.0,
        min_width_hz=23.4375,
        ratio=1.045,
        values=("level", "pan"),
    ),
    PITCH_FRONT_END,
)
SEPARATOR_HOP, OFFLINE_HOP = 256, 1024
TRANSCRIBER_FRONT_ENDS = (
    PITCH_FRONT_END,
    FrontEnd(
        n_fft=1024,
        synthesis=256,
        min_hz=-23.4375,
        max_hz=18_000.0,
        min_width_hz=46.875,
        ratio=1.12,
        values=("level",),
    ),
)
TRANSCRIBER_HOP = 512
MASK_RATIO_LIMIT = 16.0
# Transformed at a time: a few stay in a processor's cache; a GPU wants many.
CPU_BLOCK_FRAMES, GPU_BLOCK_FRAMES = 64, 1024

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """One lookahead of the separator: which frames its masks are for.

    Attributes
    ----------
    lookahead : int
        Samples heard after the end of the frame that the mask is for.
    target : {"live", "offline"}
        The masking windows that the mask is fitted to.
    """

    lookahead: int
    target: str


HEADS = {
    "live": Head(0, "live"),
    "relaxed": Head(512, "live"),
    "offline": Head(8192, "offline"),
}


def target_frames(head: str) -> tuple[int, int]:
    """Hop and end of the first frame, in samples, of the targets of a head of the separator."""
    if HEADS[head].target == "offline":
        return OFFLINE_HOP, SEPARATOR_HOP + HEADS[head].lookahead
    # Live masks serve the frames from their own time to one network hop later; the
    # target is the frame in the middle.
    return SEPARATOR_HOP, SEPARATOR_HOP + SEPARATOR_HOP // 4


def n_features(front_ends: Sequence[FrontEnd]) -> int:
    """Width of the feature vector of some front ends."""
    return sum(len(f.values) * band_count(f) for f in front_ends)


def edges(f: FrontEnd) -> npt.NDArray[np.float64]:
    """Band edges of a front end in Hz."""
    return band_edges(f.min_hz, f.max_hz, f.min_width_hz, f.ratio)


def features(
    audio: Tensor,
    front_ends: Sequence[FrontEnd],
    hop: int,
    sample_rate: float = REFERENCE_RATE,
    skip: int = 0,
) -> Tensor:
    """All feature vectors of stereo signals but the first `skip`, ``[..., frames, n_features]``.

    Parameters
    ----------
    audio : ``[..., 2, samples]``, or with one channel
    """
    columns = []
    for f in front_ends:
        window = analysis_window(f.n_fft, f.synthesis)
        matrix = _bands(f, f.n_fft, sample_rate, False, audio.device)
        reached = len(matrix)
        gain = (2.0 / float(window.sum())) ** 2
        n_frames = audio.shape[-1] // hop
        block = _block_frames(audio)
        blocks = (
            _block(audio, window, hop, (k + 1) * hop, min(block, n_frames - k))
            for k in range(skip, n_frames, block)
        )
        heard = (spectra[..., :reached] for spectra in blocks)
        power = torch.cat([_product(part, part) @ matrix for part in heard], dim=-2)
        left, right = power[..., 0, :, :] * gain, power[..., -1, :, :] * gain
        values = {
            "level": (10 * torch.log10((left + right) / 2 + 1e-9) + 50) / 20,
            "pan": (left - right) / (left + right + 1e-9),
        }
        columns += [values[v] for v in f.values]
    return torch.cat(columns, dim=-1)


def equaliser_db(
    depth_db: npt.NDArray[np.float64], place: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """A smooth equaliser: cosines of 0, 1, 2 ... half periods over the spectrum.

    Parameters
    ----------
    depth_db : ``[..., cosines]``
    place : ``[bands]``
        0 at the lowest frequency and 1 at the highest.

    Returns
    -------
    ``[..., bands]``, in dB
    """
    waves = np.cos(np.pi * np.arange(depth_db.shape[-1])[:, None] * place)
    gain_db: npt.NDArray[np.float64] = depth_db @ waves
    return gain_db


def recoloured(
    features: Tensor, rng: np.random.Generator, front_ends: Sequence[FrontEnd]
) -> Tensor:
    """Features of the same music with another level and a smooth equaliser, channels swapped.

    Parameters
    ----------
    features : ``[batch, frames, n_features]``
    """
    depth_db = rng.normal(0.0, (6.0, 3.0, 3.0, 2.0), (len(features), 1, 4))
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], (len(features), 1, 1)).astype(np.float32))
    columns, start = [], 0
    for end in front_ends:
        middles = edges(end)
        middles = ((middles[1:] + middles[:-1]) / 2).clip(20.0)
        octaves = np.log2(middles / 20.0) / 10.0  # 0 at 20 Hz, 1 at 20 kHz
        gain_db = -5.0 + equaliser_db(depth_db, octaves)
        gain = torch.from_numpy(gain_db.astype(np.float32)).to(features.device)
        for value in end.values:
            column = features[..., start : start + len(middles)]
            start += len(middles)
            if value == "level":
                columns.append((column + gain / 20).clamp_min(-2.0))
            else:
                columns.append(column * sign.to(features.device))
    return torch.cat(columns, dim=-1)


def mask_targets(
    stems: Tensor, preset: str, hop: int, first_end: int, speed: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Ideal band masks of all stems but the last, through a preset's windows.

    Parameters
    ----------
    stems : ``[..., n_stems, 2, samples]``
    hop, first_end : int
        Frames end at ``first_end + k * hop``.
    speed : float
        The audio is taken to be sampled at ``speed * REFERENCE_RATE``.

    Returns
    -------
    energy : ``[..., frames, bands]``, Σ |X|²
    ratio : ``[..., frames, n_stems - 1, bands]``, clipped R_i
    floor : ``[..., frames, n_stems]``, the error that no mask removes, Σ |S_i|² - Ex R_i²
    """
    p = PRESETS[preset]
    window = analysis_window(p.n_fft, p.synthesis)
    rate = REFERENCE_RATE * speed
    matrix = _bands(SEPARATOR_FRONT_ENDS[0], p.n_fft, rate, True, stems.device)
    n_frames = (stems.shape[-1] - first_end) // hop + 1
    results, block = [], _block_frames(stems)
    for start in range(0, n_frames, block):
        count = min(block, n_frames - start)
        parts = _block(stems, window, hop, first_end + start * hop, count)
        mix = parts.sum(-4)
        energy = _product(mix, mix).sum(-3) @ matrix
        cross = (_product(mix[..., None, :, :, :], parts).sum(-3) @ matrix).transpose(-3, -2)
        total = _product(parts, parts).sum((-3, -1)).transpose(-2, -1)
        ratio = cross / (energy[..., None, :] + 1e-9)
        ratio = ratio.clamp(-MASK_RATIO_LIMIT, MASK_RATIO_LIMIT)
        floor = total - (2 * ratio * cross - energy[..., None, :] * ratio**2).sum(-1)
        results.append((energy, ratio[..., :-1, :], floor.clamp_min(0)))
    energies, ratios, floors = zip(*results, strict=True)
    return torch.cat(energies, dim=-2), torch.cat(ratios, dim=-3), torch.cat(floors, dim=-2)


@cache
def _bands(end: FrontEnd, n_fft: int, rate: float, cover: bool, device: torch.device) -> Tensor:
    """Of each bin, up to the last that counts, its share in each band, ``[bins, bands]``."""
    bands = band_matrix(edges(end), n_fft, rate, cover=cover)
    reached = int(np.flatnonzero(bands.any(axis=0))[-1]) + 1
    return torch.from_numpy(bands[:, :reached].T.copy()).to(device)


def _block_frames(audio: Tensor) -> int:
    return CPU_BLOCK_FRAMES if audio.device.type == "cpu" else GPU_BLOCK_FRAMES


def _block(audio: Tensor, window: Array, hop: int, first_end: int, count: int) -> Tensor:
    """Spectra of `count` frames, ``[..., count, bins]``."""
    n_fft = len(window)
    start, stop = first_end - n_fft, first_end + (count - 1) * hop
    part = torch.nn.functional.pad(audio[..., max(start, 0) : stop], (max(-start, 0), 0))
    frames = part.unfold(-1, n_fft, hop)
    return torch.fft.rfft(frames * torch.from_numpy(window).to(audio.device))


def _product(one: Tensor, other: Tensor) -> Tensor:
    """``Re(one* other)``."""
    return one.real * other.real + one.imag * other.imag
