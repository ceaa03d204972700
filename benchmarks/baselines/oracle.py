"""The ceiling: ideal masks from the true stems, through a preset's windows and bands.

Every masking frame gets, in every band of the separator's masks, each stem's share of
the power that the true stems have in that very frame under the analysis window (an
ideal Wiener-like ratio mask, shared by the channels, as ours are).  No network that
drives the same windows and bands with such masks can know more.
"""

import numpy as np
import numpy.typing as npt

from rtsep.bands import band_edges, band_matrix
from rtsep.manifest import Manifest
from rtsep.presets import Preset
from rtsep.stft import MaskingStft
from rtsep.windows import analysis_window

Audio = npt.NDArray[np.float32]

FRAMES_AT_ONCE = 256


def separate(
    mix: Audio, stems: dict[str, Audio], preset: Preset, manifest: Manifest, sample_rate: int
) -> dict[str, Audio]:
    """The stems that ideal masks give, aligned with the mix.

    Parameters
    ----------
    mix : float32 array, shape (channels, frames)
    stems : dict
        True stems, shaped as the mix.
    manifest : Manifest
        The separator whose bands the masks come in.

    Returns
    -------
    dict
        A stem of the manifest each.
    """
    channels, n = mix.shape
    front_end = manifest.front_ends[0]
    edges = band_edges(front_end.min_hz, front_end.max_hz, front_end.min_width_hz, front_end.ratio)
    n_fft = preset.frame_length(sample_rate)
    matrix = band_matrix(edges, n_fft, sample_rate, cover=True)
    stft = MaskingStft(
        n_fft=n_fft,
        synthesis=preset.synthesis,
        hop=preset.hop,
        n_stems=len(manifest.stems),
        channels=channels,
        mask_matrix=matrix,
    )
    hop, delay = preset.hop, preset.synthesis - preset.hop
    n_hops = -(-(n + delay) // hop)
    padded = np.zeros((channels, n_hops * hop), np.float32)
    padded[:, :n] = mix
    targets = _targets(mix, stems, manifest.stems, n_hops * hop)
    out = np.zeros((len(manifest.stems), channels, n_hops * hop), np.float32)
    block = np.zeros((len(manifest.stems), channels, hop), np.float32)
    for first in range(0, n_hops, FRAMES_AT_ONCE):
        count = min(FRAMES_AT_ONCE, n_hops - first)
        masks = _ideal_masks(targets, first, count, preset, n_fft, matrix)
        for index in range(count):
            at = slice((first + index) * hop, (first + index + 1) * hop)
            stft.process(np.ascontiguousarray(padded[:, at]), masks[index], block)
            out[..., at] = block
    return dict(zip(manifest.stems, out[..., delay : delay + n], strict=True))


def _targets(
    mix: Audio, stems: dict[str, Audio], names: tuple[str, ...], length: int
) -> npt.NDArray[np.float32]:
    """True stems in the order of the masks, the residual last: [S, channels, length].

    What the mix holds beside the stems that are known belongs to one that is not.
    """
    n = mix.shape[1]
    targets = np.zeros((len(names), mix.shape[0], length), np.float32)
    for row, name in zip(targets, names, strict=True):
        if name in stems:
            row[:, :n] = stems[name]
    unknown = [index for index, name in enumerate(names) if name not in stems]
    rest = unknown[0] if unknown else len(names) - 1
    targets[rest, :, :n] += mix - targets[..., :n].sum(axis=0)
    return targets


def _ideal_masks(
    targets: npt.NDArray[np.float32],
    first: int,
    count: int,
    preset: Preset,
    n_fft: int,
    matrix: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Shares of the power for `count` frames: [count, S, bands]."""
    window = analysis_window(n_fft, preset.synthesis)
    end = (first + count) * preset.hop
    start = (first + 1) * preset.hop - n_fft
    piece = targets[..., max(start, 0) : end]
    piece = np.pad(piece, ((0, 0), (0, 0), (max(-start, 0), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(piece, n_fft, axis=-1)[..., :: preset.hop, :]
    power = np.zeros((targets.shape[0], count, matrix.shape[0]), np.float32)
    for channel in range(targets.shape[1]):
        for stem in range(targets.shape[0]):
            spectrum = np.fft.rfft(frames[stem, channel] * window)
            power[stem] += (np.abs(spectrum) ** 2).astype(np.float32) @ matrix.T
    shares = power / np.maximum(power.sum(axis=0), 1e-20)
    return np.ascontiguousarray(shares.transpose(1, 0, 2))
