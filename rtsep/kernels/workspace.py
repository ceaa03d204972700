"""Many arrays in one, because every array handed to compiled code costs time.

Numba's dispatcher inspects each argument and allocates a header for it, a third of a
short kernel's time when there are thirty.  Packed, they are one argument, and the
kernel takes its views apart without allocating.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_LINE = 16
"""Items in a cache line of float32."""

_GAP = 9 * _LINE
"""Items between arrays.  Powers of two apart, they would fight for the same cache sets."""


def pack(arrays: Sequence[Array]) -> tuple[Array, Indices]:
    """Copy arrays of one dtype, flattened, into one array.

    Parameters
    ----------
    arrays : sequence of arrays

    Returns
    -------
    packed : array, flat
    bounds : int64 array, shape (len(arrays), 2)
        Start and end of each.
    """
    sizes = np.array([array.size for array in arrays], np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes + -sizes % _LINE + _GAP)])
    bounds = np.stack([starts[:-1], starts[:-1] + sizes], axis=1).astype(np.int64)
    packed = np.zeros(starts[-1], arrays[0].dtype)
    for (start, end), array in zip(bounds, arrays, strict=True):
        packed[start:end] = array.ravel()
    return packed, bounds


@njit(nogil=True, forceinline=True, error_model="numpy")
def part(packed, bounds, i):  # type: ignore[no-untyped-def]
    """View of the array `i` of those that were packed, flat."""
    return packed[bounds[i, 0] : bounds[i, 1]]
