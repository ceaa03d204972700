"""Samples and masks in and out of the engine's rings, compiled.

A ring is a power of two long; the sample at stream position t lies at index
``t & (length - 1)``.  Blocks come from hosts, so they may be strided views; the
engine's own arrays are contiguous.
"""

import numpy as np
from numba import boolean, float32, int64, njit, types
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# +120 dB over full scale: squares of spectra beyond it would overflow float32.
SAMPLE_LIMIT = 1e6
# No separator amplifies a bin by more than this; what does is broken.
MASK_LIMIT = 16.0

_IN = types.Array(float32, 2, "A", readonly=True)
_OUT = types.Array(float32, 3, "A")


@njit([int64(_IN, int64, int64, float32[:, ::1], int64)], nogil=True, cache=True)
def take(block_in: Floats, start: int, count: int, ring: Floats, position: int) -> int:
    """Take `count` samples in.

    Parameters
    ----------
    block_in : float32 [channels, n]
        Read from sample `start` on.
    ring : float32 [channels, length]
        Receives them from stream position `position` on.  A sample that is not finite,
        or beyond `SAMPLE_LIMIT`, becomes 0.

    Returns
    -------
    int
        Samples replaced, over all channels.
    """
    last = ring.shape[1] - 1
    limit = np.float32(SAMPLE_LIMIT)
    bad = 0
    for c in range(ring.shape[0]):
        for i in range(count):
            x = block_in[c, start + i]
            # Not a number compares false.
            if not (np.abs(x) <= limit):
                x = np.float32(0.0)
                bad += 1
            ring[c, (position + i) & last] = x
    return bad


@njit([types.void(float32[:, :, ::1], int64, int64, _OUT, int64)], nogil=True, cache=True)
def give(ready: Floats, offset: int, count: int, block_out: Floats, start: int) -> None:
    """Hand `count` samples out.

    Parameters
    ----------
    ready : float32 [stems, channels, hop]
        Finished stems, read from `offset` on.
    block_out : float32 [stems, channels, n]
        Written from sample `start` on.
    """
    for s in range(ready.shape[0]):
        for c in range(ready.shape[1]):
            for i in range(count):
                block_out[s, c, start + i] = ready[s, c, offset + i]


@njit([types.void(float32[:, ::1], int64, float32[:, ::1])], nogil=True, cache=True)
def read_ring(ring: Floats, position: int, out: Floats) -> None:
    """Copy `out.shape[1]` samples from stream position `position` on."""
    last = ring.shape[1] - 1
    for c in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[c, i] = ring[c, (position + i) & last]


@njit([int64(float32[:, :, ::1], int64, float32[:, :, ::1], int64)], nogil=True, cache=True)
def store_masks(masks: Floats, count: int, ring: Floats, frame: int) -> int:
    """Keep `count` mask frames, ``masks[:count]``, the first of which is `frame`.

    Parameters
    ----------
    masks : float32 [>= count, stems, bands]
        The last stem is the residual, whose mask nobody reads.
    ring : float32 [length, stems, bands]
        Any length; frame k goes to row ``k % length``.

    Returns
    -------
    int
        Frames with a mask that is not finite or beyond `MASK_LIMIT`.  They are kept
        as zeros: the whole mix in the residual.
    """
    limit = np.float32(MASK_LIMIT)
    misses = 0
    for k in range(count):
        row = ring[(frame + k) % ring.shape[0]]
        bad = 0
        for s in range(ring.shape[1] - 1):
            for b in range(ring.shape[2]):
                m = masks[k, s, b]
                bad += not (np.abs(m) <= limit)
                row[s, b] = m
        if bad:
            row[:] = np.float32(0.0)
            misses += 1
    return misses


@njit([types.void(float32[:, :, ::1], int64, float32[:, :, ::1], int64)], nogil=True, cache=True)
def store_stems(stems: Floats, count: int, ring: Floats, position: int) -> None:
    """Keep ``stems[:, :, :count]`` from stream position `position` on.

    Parameters
    ----------
    stems : float32 [stems, model_channels, >= count]
    ring : float32 [stems, channels, length]
        One channel keeps the mean of the model's.
    """
    last = ring.shape[2] - 1
    width = stems.shape[1]
    for s in range(ring.shape[0]):
        for i in range(count):
            j = (position + i) & last
            if ring.shape[1] == width:
                for c in range(width):
                    ring[s, c, j] = stems[s, c, i]
            else:
                total = np.float32(0.0)
                for c in range(width):
                    total += stems[s, c, i]
                ring[s, 0, j] = total / np.float32(width)


@njit(
    [int64(float32[:, :, ::1], int64, float32[:, ::1], float32[:, :, ::1])], nogil=True, cache=True
)
def take_stems(ring: Floats, position: int, mix: Floats, out: Floats) -> int:
    """Read a hop of stems and complete it with the residual.

    Parameters
    ----------
    ring : float32 [stems, channels, length]
        All stems; the last one, the model's own residual, is not read.
    position : int
        Stream position of the hop in the ring.
    mix : float32 [channels, hop]
        The mix of that hop.
    out : float32 [stems, channels, hop]
        The last stem becomes `mix` less the others.

    Returns
    -------
    int
        Samples at which a stem was not finite or beyond `SAMPLE_LIMIT`.  The whole
        mix is in the residual there.
    """
    last = ring.shape[2] - 1
    limit = np.float32(SAMPLE_LIMIT)
    residual = ring.shape[0] - 1
    misses = 0
    for i in range(mix.shape[1]):
        j = (position + i) & last
        bad = 0
        for c in range(mix.shape[0]):
            rest = mix[c, i]
            for s in range(residual):
                x = ring[s, c, j]
                bad += not (np.abs(x) <= limit)
                out[s, c, i] = x
                rest -= x
            out[residual, c, i] = rest
        if bad:
            misses += 1
            for c in range(mix.shape[0]):
                for s in range(residual):
                    out[s, c, i] = np.float32(0.0)
                out[residual, c, i] = mix[c, i]
    return misses


@njit([boolean(float32[::1])], nogil=True, cache=True)
def all_finite(values: Floats) -> bool:
    """Whether every value is finite."""
    bad = 0
    for i in range(values.shape[0]):
        bad += not np.isfinite(values[i])
    return bad == 0
