"""The inner loop of sample rate conversion, compiled."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(x: Floats, row: Floats) -> np.float32:
    total = np.float32(0.0)
    for k in range(row.shape[0]):
        total += x[k] * row[k]
    return total


@njit(nogil=True, cache=True)
def interpolate(
    x: Floats, first: int, phase: int, up: int, down: int, phases: Floats, out: Floats
) -> None:
    """Output samples ``down / up`` input samples apart.

    Parameters
    ----------
    x : float32 [channels, n]
        Input.
    first, phase : int
        The first output lies ``phase / up`` after ``x[:, first]``.
    up, down : int
        The ratio of the rates, without a common factor.
    phases : float32 [n_phases + 1, 2 * half]
        Filters, see `rtsep.resample`; between two of them, a mean of both is taken.
    out : float32 [channels, m]
        Written.
    """
    n_phases = phases.shape[0] - 1
    before = phases.shape[1] // 2 - 1
    for c in range(x.shape[0]):
        at, part = first - before, phase
        for j in range(out.shape[1]):
            row = part * n_phases // up
            rest = part * n_phases - row * up
            heard = x[c, at : at + phases.shape[1]]
            value = _dot(heard, phases[row])
            if rest:
                weight = np.float32(rest / up)
                value += weight * (_dot(heard, phases[row + 1]) - value)
            out[c, j] = value
            part += down
            at += part // up
            part %= up
