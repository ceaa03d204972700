"""The mixer's arithmetic: every strip of a block in one call.

A strip's signal goes into a delay line, comes out later, and takes a gain; the monitor
is the sum of all strips.  Gains and delays change along `curve`, sample by sample and
independent of how the stream is cut into blocks.

State of the strips, row by row; the last row is the monitor's, which has no delay:

- ``gains`` float32 [strips + 1, 2]: the gain a ramp comes from and goes to; negative
  with reversed polarity.
- ``state`` int64 [strips + 1, 5]: how much of the ramp is done; the delay a fade comes
  from and goes to; how much of it is done; the delay that is wanted next.
"""

import numpy as np
from numba import boolean, float32, int64, njit, void
from numpy.typing import NDArray

from rtsep.kernels.rings import read_ring, write_ring

Floats = NDArray[np.float32]
Words = NDArray[np.int64]
Flags = NDArray[np.bool_]

FROM, TO = 0, 1
RAMPED, DELAY_FROM, DELAY_TO, FADED, DELAY_WANTED = 0, 1, 2, 3, 4
STATE_WORDS = 5


@njit([void(float32[::1], float32[::1], int64, float32[::1])], nogil=True, cache=True)
def _ramp(row: Floats, gain: Floats, ramped: int, curve: Floats) -> None:
    """Multiply a row by the gain of its samples."""
    m = min(row.size, curve.size - ramped)
    rise = gain[TO] - gain[FROM]
    for i in range(m):
        row[i] *= gain[FROM] + rise * curve[ramped + i]
    to = gain[TO]
    if to != np.float32(1.0):
        for i in range(m, row.size):
            row[i] *= to


@njit(
    [
        boolean(
            float32[:, :, ::1],
            float32[:, :, ::1],
            boolean[::1],
            float32[:, :, ::1],
            int64,
            float32[:, ::1],
            int64[:, ::1],
            float32[::1],
            float32[::1],
            float32[:, ::1],
        )
    ],
    nogil=True,
    cache=True,
)
def mix_strips(
    stems: Floats,
    wet: Floats,
    uses_wet: Flags,
    lines: Floats,
    t: int,
    gains: Floats,
    state: Words,
    curve: Floats,
    scratch: Floats,
    out: Floats,
) -> bool:
    """Delay, gain and sum a block.

    Parameters
    ----------
    stems : float32 array, shape (strips, 2, n)
    wet : float32 array, shape (strips, 2, at least n)
        Taken in place of `stems` where `uses_wet` says so.
    uses_wet : bool array, shape (strips,)
    lines : float32 array, shape (strips, 2, power of two)
        Delay lines, at least as long as the longest delay and block together.
    t : int
        Frames before this block.
    gains, state
        As the module says; advanced by n frames.
    curve : float32 array, shape (length of a ramp or fade,)
        Rises from 0 to 1.
    scratch : float32 array, shape (at least n,)
    out : float32 array, shape (2 * strips + 2, n)
        Written: left and right of every strip, then of the monitor.

    Returns
    -------
    bool
        Whether every strip went out as it came in.
    """
    strips, sides, n = stems.shape
    length = curve.size
    monitor = 2 * strips
    untouched = True
    for s in range(strips):
        state_s = state[s]
        for side in range(sides):
            line = lines[s, side]
            row = out[2 * s + side]
            if uses_wet[s]:
                source = wet[s, side, :n]
            else:
                source = stems[s, side]
            write_ring(line, t, source)
            start, to, faded = state_s[DELAY_FROM], state_s[DELAY_TO], state_s[FADED]
            i = 0
            while i < n:
                if faded >= length and state_s[DELAY_WANTED] != to:
                    start, to, faded = to, state_s[DELAY_WANTED], 0
                if faded >= length:
                    if to == 0:
                        row[i:] = source[i:]
                    else:
                        read_ring(line, t + i - to, row[i:])
                    break
                m = min(n - i, length - faded)
                read_ring(line, t + i - start, row[i : i + m])
                read_ring(line, t + i - to, scratch[:m])
                for j in range(m):
                    row[i + j] += curve[faded + j] * (scratch[j] - row[i + j])
                faded += m
                i += m
            _ramp(row, gains[s], state_s[RAMPED], curve)
            if s == 0:
                out[monitor + side, :] = row
            else:
                total = out[monitor + side]
                for j in range(n):
                    total[j] += row[j]
            if side == sides - 1:
                untouched &= (
                    not uses_wet[s]
                    and gains[s, TO] == np.float32(1.0)
                    and state_s[RAMPED] >= length
                    and to == 0
                    and state_s[FADED] >= length
                )
                state_s[DELAY_FROM], state_s[DELAY_TO], state_s[FADED] = start, to, faded
        state_s[RAMPED] = min(length, state_s[RAMPED] + n)
    state_m = state[strips]
    for side in range(sides):
        _ramp(out[monitor + side], gains[strips], state_m[RAMPED], curve)
    state_m[RAMPED] = min(length, state_m[RAMPED] + n)
    return untouched


@njit([boolean(float32[:, ::1], int64, float32[:, ::1])], nogil=True, cache=True)
def keep_rows(rings: Floats, start: int, values: Floats) -> bool:
    """Write both sides to their rings; tell whether all of it is finite numbers."""
    total = np.float32(0.0)
    for side in range(values.shape[0]):
        write_ring(rings[side], start, values[side])
        for i in range(values.shape[1]):
            # 0 for a finite number, NaN for any other.
            total += values[side, i] * np.float32(0.0)
    return total == np.float32(0.0)


@njit([void(float32[:, ::1], int64, int64)], nogil=True, cache=True)
def reflect(rings: Floats, start: int, n: int) -> None:
    """Continue both sides from index `start` on by odd reflection about the last sample."""
    last = rings.shape[1] - 1
    for side in range(rings.shape[0]):
        ring = rings[side]
        for i in range(n):
            twice = np.float32(2.0) * ring[(start - 1) & last]
            ring[(start + i) & last] = twice - ring[(start - 2 - i) & last]


@njit(
    [void(float32[:, ::1], int64, float32[:, ::1], int64, int64, float32[::1], float32[:, ::1])],
    nogil=True,
    cache=True,
)
def blend(
    old: Floats, old_at: int, new: Floats, new_at: int, faded: int, curve: Floats, out: Floats
) -> None:
    """Cross-fade from one pair of rings to another.

    Parameters
    ----------
    old, new : float32 arrays, shape (2, power of two)
    old_at, new_at : int
        Indices of the block's first sample in them.
    faded : int
        How much of the fade lies before this block; negative where it begins later.
    curve : float32 array
        Rises from 0 to 1.
    out : float32 array, shape (2, n)
        Written.
    """
    n = out.shape[1]
    length = curve.size
    start = min(n, max(0, -faded))
    stop = min(n, max(0, length - faded))
    last_old, last_new = old.shape[1] - 1, new.shape[1] - 1
    for side in range(out.shape[0]):
        read_ring(old[side], old_at, out[side, :start])
        for i in range(start, stop):
            a, b = old[side, (old_at + i) & last_old], new[side, (new_at + i) & last_new]
            out[side, i] = a + curve[faded + i] * (b - a)
        read_ring(new[side], new_at + stop, out[side, stop:])
