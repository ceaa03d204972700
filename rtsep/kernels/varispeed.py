"""Reading a signal at any speed: a windowed sinc at a fractional, moving position.

For the clock drift between two devices, whose ratio of rates is 1 but for some hundred
parts in a million.  The filter is a sinc of `HALF` zero crossings on either side under a
Kaiser window, at `PHASES` positions between two samples; between those, the filters are
interpolated linearly (J. O. Smith, "Digital Audio Resampling", 2002).  At 44.1 kHz it is
flat to 18 kHz, and its images lie 100 dB down.
"""

from typing import Any

import numpy as np
from numba import float32, float64, int64, njit
from numpy.typing import NDArray

from rtsep.kernels.simd import LANES, load, store, sum_lanes

Floats = NDArray[np.float32]
Words = NDArray[np.int64]

HALF = 24
"""Samples that an output needs behind its position, and its delay."""
TAPS = 2 * HALF
PHASES = 256
SCRATCH = LANES * TAPS + LANES
ATTENUATION_DB = 100.0


def varispeed_filters() -> Floats:
    """Build the filters, float32 [PHASES + 1, TAPS], each with a sum of one.

    Row ``p`` is for a position ``p / PHASES`` after sample ``HALF - 1`` of those that it
    weighs.
    """
    late = np.arange(PHASES + 1)[:, None] / PHASES
    t = np.arange(1 - HALF, HALF + 1) - late
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    window = np.i0(beta * np.sqrt(np.maximum(1.0 - (t / HALF) ** 2, 0.0)))
    rows = np.sinc(t) * window
    return np.ascontiguousarray(rows / rows.sum(axis=1, keepdims=True), np.float32)


@njit(nogil=True, cache=True)
def _dot(x: Any, at: int, filters: Any, start: int) -> Any:
    """Products of `TAPS` samples and a filter, as a vector still to be summed."""
    total = load(x, at) * load(filters, start)
    for k in range(LANES, TAPS, LANES):
        total = total + load(x, at + k) * load(filters, start + k)
    return total


@njit(
    [
        float64(
            float32[::1],
            int64,
            float64,
            float64,
            int64,
            int64,
            float32[::1],
            float32[::1],
            int64[::1],
            float32[::1],
            int64,
        )
    ],
    nogil=True,
    cache=True,
    fastmath={"contract", "nsz"},
    error_model="numpy",
)
def varispeed(
    x: Floats,
    x_step: int,
    position: float,
    speed: float,
    channels: int,
    n: int,
    filters: Floats,
    scratch: Floats,
    starts: Words,
    out: Floats,
    out_step: int,
) -> float:
    """Read `n` samples of every channel, `speed` samples apart.

    How they are cut into blocks changes no bit.

    Parameters
    ----------
    x : float32 [channels * x_step]
        Input, channel after channel, with `HALF` samples after the last position and
        ``HALF - 1`` before the first.
    x_step : int
        Samples from one channel of `x` to the next.
    position : float
        Of the first output, in samples of a channel.
    speed : float
        Input samples an output sample.
    channels, n : int
    filters : float32 [(PHASES + 1) * TAPS]
        See `varispeed_filters`.
    scratch : float32 [SCRATCH]
    starts : int64 [LANES]
        Room to work in, as `scratch`.
    out : float32 [channels * out_step]
        Written.
    out_step : int
        Samples from one channel of `out` to the next.

    Returns
    -------
    float
        Position of the next output.
    """
    for done in range(0, n, LANES):
        count = min(LANES, n - done)
        for j in range(LANES):
            # Lanes beyond the last output repeat it, and are not written.
            sample = int(position)
            place = (position - sample) * PHASES
            row = int(place)
            starts[j] = sample - HALF + 1
            weight = np.float32(place - row)
            for k in range(TAPS):
                low = filters[row * TAPS + k]
                scratch[j * TAPS + k] = low + weight * (filters[(row + 1) * TAPS + k] - low)
            if j + 1 < count:
                position += speed
        for c in range(channels):
            at = c * x_step
            sums = sum_lanes(
                (
                    _dot(x, at + starts[0], scratch, 0),
                    _dot(x, at + starts[1], scratch, TAPS),
                    _dot(x, at + starts[2], scratch, 2 * TAPS),
                    _dot(x, at + starts[3], scratch, 3 * TAPS),
                    _dot(x, at + starts[4], scratch, 4 * TAPS),
                    _dot(x, at + starts[5], scratch, 5 * TAPS),
                    _dot(x, at + starts[6], scratch, 6 * TAPS),
                    _dot(x, at + starts[7], scratch, 7 * TAPS),
                )
            )
            store(scratch, LANES * TAPS, sums)
            for j in range(count):
                out[c * out_step + done + j] = scratch[LANES * TAPS + j]
        position += speed
    return position
