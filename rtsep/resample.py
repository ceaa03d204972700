"""Sample rate conversion of streams, aligned to a fraction of a sample.

pedalboard's `StreamResampler` (windowed sinc, 32 zero crossings) drops its latency
rounded to whole output samples, which leaves up to half of one.  Leading zeros make
its latency a whole number of output samples, so that output sample ``j`` lies exactly
at input sample ``j * source_rate / target_rate``.
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray
from pedalboard.io import StreamResampler

Floats = NDArray[np.float32]

# pedalboard tells channels from samples by which is fewer, so short blocks wait.
_LEAST = 1024


class Resampler:
    """Converts one stream block by block.

    Parameters
    ----------
    source_rate, target_rate : int
        In Hz.
    channels : int
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        self._source_rate, self._target_rate = source_rate, target_rate
        self._channels = channels
        self._resampler = StreamResampler(source_rate, target_rate, channels)
        latency = int(self._resampler.input_latency)
        step = source_rate // gcd(source_rate, target_rate)
        lead = -latency % step
        # The resampler itself drops its latency, rounded.
        whole = (latency + lead) * target_rate // source_rate
        self._skip = whole - round(latency * target_rate / source_rate)
        self._waiting = np.zeros((channels, lead), np.float32)
        self._taken = 0
        self._given = 0

    def process(self, block: Floats) -> Floats:
        """Convert the next samples.

        Parameters
        ----------
        block : float32 [channels, n]

        Returns
        -------
        float32 [channels, m]
            What is ready; late by some two thousand samples of input at most.
        """
        self._taken += block.shape[1]
        self._waiting = np.concatenate([self._waiting, block], axis=1)
        if self._waiting.shape[1] < _LEAST:
            return np.zeros((self._channels, 0), np.float32)
        return self._convert()

    def finish(self) -> Floats:
        """The rest of the output, once the input has ended.

        Returns
        -------
        float32 [channels, m]
            After it, ``ceil(n * target_rate / source_rate)`` samples have come out for
            ``n`` that went in.
        """
        length = -(-self._taken * self._target_rate // self._source_rate)
        silence = np.zeros((self._channels, _LEAST), np.float32)
        parts = [silence[:, :0]]
        while self._given < length:
            self._waiting = np.concatenate([self._waiting, silence], axis=1)
            part = self._convert()
            parts.append(part[:, : length - self._given + part.shape[1]])
        return np.concatenate(parts, axis=1)

    def _convert(self) -> Floats:
        """Convert all that waits."""
        out: Floats = self._resampler.process(self._waiting)
        self._waiting = self._waiting[:, :0]
        dropped = min(self._skip, out.shape[1])
        self._skip -= dropped
        out = out[:, dropped:]
        self._given += out.shape[1]
        return out
