"""Between the stream of samples and frames of it: history and overlap-add.

Numbers below 1e-20 (-400 dB) are dropped on the way in, so that no subnormal
number, slow on many processors, reaches the transforms.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import float32, int64, njit

from rtsep.kernels.simd import LANES, load, store

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

_TINY = np.float32(1e-20)


@njit(
    [int64(float32[:, ::1], float32[:, ::1], int64)],
    nogil=True,
    cache=True,
    error_model="numpy",
)
def push_history(history: Floats, x: Array, position: int) -> int:
    """Append a block to the history of the stream.

    Every sample is written twice, half a row apart, so that the newest samples,
    oldest first, always stand in one piece: ``history[c, p : p + length]``, where `p`
    is the position returned and `length` half a row.

    Parameters
    ----------
    history : float32 array, shape (channels or more, 2 * length)
        Rows beyond the channels of `x` are left alone.
    x : float32 array, shape (channels, n)
    position : int
        What the last call returned; 0 at first.
    """
    length = history.shape[1] // 2
    channels, n = x.shape
    first = max(0, n - length)
    for c in range(channels):
        p = position
        for i in range(first, n):
            sample = x[c, i]
            # Not the other way round: NaN must pass.
            if abs(sample) < _TINY:
                sample = np.float32(0.0)
            history[c, p] = sample
            history[c, p + length] = sample
            p += 1
            if p == length:
                p = 0
    return (position + n - first) % length


@njit(nogil=True, cache=True, error_model="numpy")
def overlap_add(
    tail: Floats, row: int, frame: Floats, window: Floats, out: Array, at: int, hop: int
) -> None:
    """Add the end of a frame to what earlier ones left; give out the first `hop` samples.

    Parameters
    ----------
    tail : float32 array, flat, `synthesis` for each row
        Sums of the frames so far; the last `hop` of a row stay zero.
    row : int
        The row of this stem and channel.
    frame : float32 array, shape (synthesis or more,)
        Its last `synthesis` samples count.
    window : float32 array, shape (synthesis,)
        Multiplies them.
    out : float32 array
        ``out.flat[at : at + hop]`` is written.
    hop : int
        A multiple of 8, at most half the synthesis length.
    """
    length = window.size
    old = row * length
    new = frame.size - length
    for i in range(0, hop, LANES):
        store(out, at + i, load(tail, old + i) + load(frame, new + i) * load(window, i))
    for i in range(0, length - hop, LANES):
        later = i + hop
        addend = load(frame, new + later) * load(window, later)
        store(tail, old + i, load(tail, old + later) + addend)
