"""Audio to magnitudes and back: what query networks hear, and what becomes of it.

The networks work at a low rate on one channel; their estimate becomes a mask, which is
applied to the mix as it came, at its own rate and in all its channels.  Frames lie at the
same times at both rates, bins at nearly the same frequencies.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]

BLOCK_FRAMES = 256
# RMS that is not brought to any level.
SILENT = 1e-5


def hann(n_fft: int) -> Floats:
    """A periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def frame_count(samples: int, hop: int) -> int:
    """Frames of a centred transform."""
    return samples // hop + 1


def centred(audio: Floats, n_fft: int) -> Floats:
    """Audio [..., samples], mirrored at its ends by half a window."""
    sides = [(0, 0)] * (audio.ndim - 1) + [(n_fft // 2, n_fft // 2)]
    return np.pad(audio, sides, mode="reflect" if audio.shape[-1] > 1 else "constant")


def spectrum(padded: Floats, n_fft: int, hop: int, first: int, count: int) -> Spectrum:
    """Some frames of a centred short-time transform.

    Parameters
    ----------
    padded : float32 [..., samples + n_fft]
        From `centred`.
    first, count : int
        Frame k has its middle at sample ``k * hop`` of the audio.

    Returns
    -------
    complex64 [..., count, n_fft // 2 + 1]
    """
    part = padded[..., first * hop : (first + count - 1) * hop + n_fft]
    frames = np.lib.stride_tricks.sliding_window_view(part, n_fft, axis=-1)[..., ::hop, :]
    found: Spectrum = np.fft.rfft(frames * hann(n_fft), axis=-1).astype(np.complex64)
    return found


def level_gain(audio: Floats, level_db: float | None) -> float:
    """What brings audio to an RMS in dB of full scale; 1 for None, and for silence."""
    rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if audio.size else 0.0
    return 1.0 if level_db is None or rms < SILENT else 10 ** (level_db / 20) / rms


def magnitudes(audio: Floats, n_fft: int, hop: int, bins: int) -> Floats:
    """All magnitudes ``[frames, bins]`` of one channel."""
    total, padded = frame_count(len(audio), hop), centred(audio, n_fft)
    found = np.empty((total, bins), np.float32)
    for first in range(0, total, BLOCK_FRAMES):
        count = min(BLOCK_FRAMES, total - first)
        found[first : first + count] = np.abs(spectrum(padded, n_fft, hop, first, count)[:, :bins])
    return found


class OverlapAdd:
    """The inverse of `spectrum`, frame by frame in order.

    Parameters
    ----------
    shape : tuple of int
        Of the audio, time last.
    """

    def __init__(self, shape: tuple[int, ...], n_fft: int, hop: int) -> None:
        self._n_fft, self._hop, self._samples = n_fft, hop, shape[-1]
        frames = frame_count(shape[-1], hop)
        length = (frames - 1) * hop + n_fft
        self._sum = np.zeros((*shape[:-1], length), np.float32)
        self._weight = np.zeros(length, np.float32)
        self._window = hann(n_fft)

    def add(self, spectra: Spectrum, first: int) -> None:
        """Add frames ``[..., count, bins]`` from frame `first` on."""
        frames = np.fft.irfft(spectra, self._n_fft, axis=-1).astype(np.float32) * self._window
        for k in range(frames.shape[-2]):
            start = (first + k) * self._hop
            self._sum[..., start : start + self._n_fft] += frames[..., k, :]
            self._weight[start : start + self._n_fft] += self._window**2

    def audio(self) -> Floats:
        """What has been added, the overlap divided out."""
        start = self._n_fft // 2
        part = slice(start, start + self._samples)
        found = self._sum[..., part] / np.maximum(self._weight[part], 1e-6)
        short = self._samples - found.shape[-1]
        return np.pad(found, [(0, 0)] * (found.ndim - 1) + [(0, short)])


def mask(estimate: Floats, mixture: Floats) -> Floats:
    """The share of a mixture's magnitudes that comes closest to an estimate, 0 to 1."""
    return np.clip(estimate / (mixture + 1e-8), 0.0, 1.0)


def masked(audio: Floats, masks: Iterator[tuple[int, Floats]], n_fft: int, hop: int) -> Floats:
    """Audio [channels, samples] under masks that a network made at another rate.

    Parameters
    ----------
    masks : iterable of (int, float32 [count, bins])
        First frame and masks, in order; bins lie as far apart as those of `n_fft` here.
        Above the last one its neighbours below speak for all: the mean over the upper
        quarter.
    """
    out, padded = OverlapAdd(audio.shape, n_fft, hop), centred(audio, n_fft)
    total = frame_count(audio.shape[-1], hop)
    for first, part in masks:
        # Rounding may give the other rate one frame more.
        part = part[: total - first]
        if not len(part):
            break
        bins = min(part.shape[1], n_fft // 2 + 1)
        spectra = spectrum(padded, n_fft, hop, first, len(part))
        upper = part[:, 3 * part.shape[1] // 4 :].mean(axis=1, keepdims=True)
        spectra[..., :bins] *= part[:, :bins]
        spectra[..., bins:] *= upper
        out.add(spectra, first)
    return out.audio()


def invert(magnitude: Floats, n_fft: int, hop: int, iterations: int, momentum: float) -> Floats:
    """Audio of magnitudes ``[frames, bins]`` by the fast Griffin-Lim algorithm.

    Griffin and Lim 1984; Perraudin, Balazs and Søndergaard 2013 for the momentum.

    Returns
    -------
    float32 [(frames - 1) * hop]
    """
    frames = len(magnitude)
    samples = (frames - 1) * hop
    whole = np.pad(magnitude, ((0, 0), (0, n_fft // 2 + 1 - magnitude.shape[1])))
    phase = np.exp(2j * np.pi * np.random.default_rng(0).random(whole.shape)).astype(np.complex64)
    before = np.zeros_like(phase)
    for _ in range(iterations + 1):
        out = OverlapAdd((samples,), n_fft, hop)
        out.add(whole * phase, 0)
        audio = out.audio()
        rebuilt = spectrum(centred(audio, n_fft), n_fft, hop, 0, frames)
        phase = rebuilt + momentum * (rebuilt - before)
        phase /= np.abs(phase) + 1e-16
        before = rebuilt
    return audio
