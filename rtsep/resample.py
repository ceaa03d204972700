"""Sample rate conversion of streams: a polyphase windowed sinc, aligned exactly.

Output sample ``j`` lies at input sample ``j * source_rate / target_rate``, with nothing
to trim; how the stream is cut into blocks changes no bit.  The filter is a sinc of
`ZERO_CROSSINGS` on either side under a Kaiser window, flat to 0.92 of the lower
rate's Nyquist frequency and 80 dB down from 1 on (J. O. Smith, "Digital Audio Resampling",
2002, with Kaiser's formulae for the window).
"""

from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

from rtsep.kernels.polyphase import interpolate

Floats = NDArray[np.float32]

ZERO_CROSSINGS = 64
ATTENUATION_DB = 80.0
# Rates with no small ratio get their phases by linear interpolation between these.
MAX_PHASES = 1024


class Resampler:
    """Converts one stream block by block.

    Parameters
    ----------
    source_rate, target_rate : int
        In Hz.
    channels : int
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        common = gcd(source_rate, target_rate)
        self._up, self._down = target_rate // common, source_rate // common
        self._phases = _phases(self._up, self._down)
        self._half = self._phases.shape[1] // 2
        # The input from sample `_start` on, silence before the first one.
        self._start = 1 - self._half
        self._buffer = np.zeros((channels, self._half - 1), np.float32)
        self._taken = self._given = 0

    def process(self, block: Floats) -> Floats:
        """Convert the next samples.

        Parameters
        ----------
        block : float32 [channels, n]

        Returns
        -------
        float32 [channels, m]
            All output that depends on no later input.
        """
        self._taken += block.shape[1]
        return self._convert(block)

    def finish(self) -> Floats:
        """The rest of the output, once the input has ended.

        Returns
        -------
        float32 [channels, m]
            After it, ``ceil(n * target_rate / source_rate)`` samples have come out for
            ``n`` that went in.
        """
        missing = -(-self._taken * self._up // self._down) - self._given
        silence = np.zeros((self._buffer.shape[0], self._half), np.float32)
        return self._convert(silence)[:, :missing]

    def _convert(self, block: Floats) -> Floats:
        self._buffer = np.concatenate([self._buffer, block], axis=1)
        # The last output whose filter ends before the input does.
        heard = self._start + self._buffer.shape[1] - self._half
        stop = max(-(-heard * self._up // self._down), self._given)
        out = np.empty((self._buffer.shape[0], stop - self._given), np.float32)
        first, phase = divmod(self._given * self._down, self._up)
        interpolate(
            self._buffer, first - self._start, phase, self._up, self._down, self._phases, out
        )
        self._given = stop
        used = stop * self._down // self._up - self._half + 1 - self._start
        self._buffer = self._buffer[:, used:]
        self._start += used
        return out


def _phases(up: int, down: int) -> Floats:
    """The filter at every phase, [phases + 1, 2 * half], each with a sum of one.

    Row ``p`` is for an output that lies ``p / phases`` of a sample after input sample
    ``half - 1`` of those that the row weighs.
    """
    lower = min(1.0, up / down)
    # Kaiser's width of the transition, in Nyquist frequencies of the lower rate.
    width = (ATTENUATION_DB - 8.0) / (2.285 * 2 * ZERO_CROSSINGS) / np.pi
    cutoff = lower * (1.0 - width / 2)
    reach = ZERO_CROSSINGS / lower
    half = ceil(reach)
    n_phases = min(up, MAX_PHASES)
    late = np.arange(n_phases + 1)[:, None] / n_phases
    t = np.arange(1 - half, half + 1) - late
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    window = np.i0(beta * np.sqrt(np.maximum(1.0 - (t / reach) ** 2, 0.0)))
    window[np.abs(t) > reach] = 0.0
    rows = np.sinc(cutoff * t) * window
    return np.ascontiguousarray(rows / rows.sum(axis=1, keepdims=True), np.float32)


def mono_at(audio: Floats, rate: int, target: int) -> Floats:
    """All channels as one, at another rate."""
    mono: Floats = audio.mean(axis=0, keepdims=True, dtype=np.float32)
    (row,) = at_rate(mono, rate, target)
    return np.asarray(row, np.float32)


def at_rate(audio: Floats, rate: int, target: int) -> Floats:
    """Audio [channels, samples] at another rate."""
    if rate == target:
        return audio
    resampler = Resampler(rate, target, audio.shape[0])
    converted: Floats = np.concatenate([resampler.process(audio), resampler.finish()], axis=1)
    return converted
