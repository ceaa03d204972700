"""Reading a signal at any speed: a windowed sinc at a fractional, moving position.

For the clock drift between two devices, whose ratio of rates is 1 but for some hundred
parts in a million.  The filter is a sinc of `HALF` zero crossings on either side under a
Kaiser window, at `PHASES` positions between two samples; between those, the filters are
interpolated linearly (J. O. Smith, "Digital Audio Resampling", 2002).  At 44.1 kHz it is
flat to 18 kHz, and its images lie 100 dB down.
"""

import numpy as np
from numba import float32, float64, int64, njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HALF = 24
"""Samples that an output needs behind its position, and its delay."""
TAPS = 2 * HALF
PHASES = 256
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


@njit(
    [
        float64(
            float32[:, ::1], float64, float64, int64, float32[:, ::1], float32[::1], float32[:, ::1]
        )
    ],
    nogil=True,
    cache=True,
    fastmath={"reassoc", "contract", "nsz"},
    error_model="numpy",
)
def varispeed(
    x: Floats, position: float, speed: float, n: int, rows: Floats, scratch: Floats, out: Floats
) -> float:
    """Read `n` samples of every channel, `speed` samples apart.

    Parameters
    ----------
    x : float32 [channels, m]
        Input, with `HALF` samples after the last position and ``HALF - 1`` before the
        first.
    position : float
        Of the first output, in samples of `x`.
    speed : float
        Input samples an output sample.
    n : int
    rows : float32 [PHASES + 1, TAPS]
        See `varispeed_filters`.
    scratch : float32 [TAPS]
    out : float32 [channels, n or more]
        Written.

    Returns
    -------
    float
        Position of the next output.
    """
    for i in range(n):
        sample = int(position)
        place = (position - sample) * PHASES
        row = int(place)
        weight = np.float32(place - row)
        for k in range(TAPS):
            scratch[k] = rows[row, k] + weight * (rows[row + 1, k] - rows[row, k])
        first = sample - HALF + 1
        for c in range(out.shape[0]):
            total = np.float32(0.0)
            for k in range(TAPS):
                total += x[c, first + k] * scratch[k]
            out[c, i] = total
        position += speed
    return position
