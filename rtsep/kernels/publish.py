"""An engine's finished block into the ring that the audio callback reads, with meters."""

import numpy as np
from numba import float32, int64, njit, void
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@njit(
    [void(float32[:, ::1], float32[:, ::1], int64)],
    nogil=True,
    cache=True,
    error_model="numpy",
)
def write_ring(block: Floats, ring: Floats, position: int) -> None:
    """Copy ``block[channels, n]`` into ``ring[channels, length]`` from `position` on.

    The length is a power of two, and `position` may be negative.
    """
    last = ring.shape[1] - 1
    for c in range(block.shape[0]):
        for i in range(block.shape[1]):
            ring[c, (position + i) & last] = block[c, i]


@njit(
    [void(float32[:, ::1], float32[:, ::1], int64, float32)],
    nogil=True,
    cache=True,
    error_model="numpy",
)
def meter(block: Floats, meters: Floats, first: int, keep: float) -> None:
    """Let meters follow a block.

    Parameters
    ----------
    block : float32 [channels, n]
    meters : float32 [>= first + channels, 2]
        Peak, which falls by `keep` a block, and mean square, smoothed by it.
    first : int
        Row of the block's first channel.
    keep : float
        What is left of the old value after this block, 0 to 1.
    """
    for c in range(block.shape[0]):
        peak = np.float32(0.0)
        total = np.float32(0.0)
        for i in range(block.shape[1]):
            x = block[c, i]
            peak = max(peak, abs(x))
            total += x * x
        row = meters[first + c]
        row[0] = max(peak, keep * row[0])
        mean = total / np.float32(block.shape[1])
        row[1] = keep * row[1] + (np.float32(1.0) - keep) * mean
