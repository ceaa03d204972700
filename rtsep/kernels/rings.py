"""One channel's samples in and out of a ring whose length is a power of two.

Loops over slices run on vectors; assigning to slices would prepare for arrays that
overlap, which allocates, and for shapes that differ, which raises: an audio callback may
do neither.
"""

import numpy as np
from numba import float32, int64, njit, void
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@njit([void(float32[::1], int64, float32[::1])], nogil=True, cache=True)
def write_ring(ring: Floats, start: int, values: Floats) -> None:
    """Write to a ring from absolute index `start` on, which may be negative."""
    at = start & (ring.size - 1)
    head = min(values.size, ring.size - at)
    early = ring[at : at + head]
    for i in range(head):
        early[i] = values[i]
    late = values[head:]
    for i in range(late.size):
        ring[i] = late[i]


@njit([void(float32[::1], int64, float32[::1])], nogil=True, cache=True)
def read_ring(ring: Floats, start: int, values: Floats) -> None:
    """Fill `values` from a ring, from absolute index `start` on."""
    at = start & (ring.size - 1)
    head = min(values.size, ring.size - at)
    early = ring[at : at + head]
    for i in range(head):
        values[i] = early[i]
    late = values[head:]
    for i in range(late.size):
        late[i] = ring[i]
