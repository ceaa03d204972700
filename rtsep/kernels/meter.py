"""Meters: peak and mean square of every stem and channel of a block."""

import numpy as np
import numpy.typing as npt
from numba import float32, njit, void

Floats = npt.NDArray[np.float32]

_MAGNITUDE = np.int32(0x7FFF_FFFF)


# Sums may be taken in any order, so that they run on vectors; NaN still counts.
@njit(
    [void(float32[:, :, ::1], float32[:, ::1], float32[:, ::1])],
    nogil=True,
    cache=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "nsz"},
)
def measure(block: Floats, peak: Floats, mean_square: Floats) -> None:
    """Measure a block.

    Parameters
    ----------
    block : float32 array, shape (stems, channels, n)
        C-contiguous; n is at least 1.
    peak : float32 array, shape (stems, channels)
        Written: the largest magnitude; NaN if any sample is.
    mean_square : float32 array, shape (stems, channels)
        Written: NaN if any sample is.
    """
    stems, channels, n = block.shape
    # Without the sign, floats are ordered as the integers of the same bits are, NaN
    # above infinity; the largest integer is quicker to find.
    bits = block.view(np.int32)
    peak_bits = peak.view(np.int32)
    for s in range(stems):
        for c in range(channels):
            total = np.float32(0.0)
            largest = np.int32(0)
            for i in range(n):
                sample = block[s, c, i]
                total += sample * sample
                largest = max(largest, bits[s, c, i] & _MAGNITUDE)
            peak_bits[s, c] = largest
            mean_square[s, c] = total / np.float32(n)
