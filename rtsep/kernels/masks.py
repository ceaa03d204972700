"""Masks: from bands to bins."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from rtsep.kernels.simd import LANES, load, reverse, store, transpose

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_TINY = np.float32(1e-12)


class Spread(NamedTuple):
    """A band matrix by its columns: the bands of every bin and their shares.

    Attributes
    ----------
    bands : int64 array, flat, `n_terms` for each bin
        Bands that a bin lies in, times 8.
    shares : float32 array, flat, `n_terms` for each bin
        Zero where a bin lies in fewer bands.
    """

    bands: Indices
    shares: Floats


def spread_table(matrix: Floats) -> Spread:
    """Tables for `spread_masks`.

    Parameters
    ----------
    matrix : float32 array, shape (n_bands, n_fft // 2 + 1)
        Share of every bin in every band.
    """
    n_bins = matrix.shape[1]
    n_terms = max(1, int(np.count_nonzero(matrix, axis=0).max()))
    # The largest shares first; a stable sort keeps the table the same everywhere.
    bands = np.argsort(-matrix, axis=0, kind="stable")[:n_terms]
    shares = np.take_along_axis(matrix, bands, axis=0)
    bands = np.where(shares == 0.0, bands[:1], bands)
    # A transposition takes eight bins at a time.
    padding = ((0, -n_bins % LANES), (0, 0))
    return Spread(
        np.pad(bands.T * LANES, padding).astype(np.int64).ravel(),
        np.pad(shares.T, padding).astype(np.float32).ravel(),
    )


@njit(nogil=True, cache=True, error_model="numpy")
def spread_masks(
    masks: Floats, count: int, table: Spread, columns: Floats, spread: Floats, n_fft: int
) -> None:
    """Masks in bands become masks of all bins, the negative frequencies with them.

    Parameters
    ----------
    masks : float32 array, shape (count or more, n_bands)
        Values below 1e-12 count as zero.
    count : int
        How many of them to spread.
    table : Spread
    columns : float32 array, shape (n_bands * 8,)
        Scratch.
    spread : float32 array, flat, `n_fft` for each of `count` rounded up to 8
        Written: real, even masks.
    n_fft : int
    """
    n_bands = masks.shape[1]
    terms = table.bands.size // (n_fft // 2 + LANES)
    for first in range(0, count, LANES):
        members = min(LANES, count - first)
        for s in range(members):
            for b in range(n_bands):
                value = masks[first + s, b]
                if abs(value) < _TINY:
                    value = np.float32(0.0)
                columns[b * LANES + s] = value
        for k in range(0, n_fft // 2 + 1, LANES):
            v0, v1, v2, v3, v4, v5, v6, v7 = transpose(
                (
                    _bin(columns, table, terms, k),
                    _bin(columns, table, terms, k + 1),
                    _bin(columns, table, terms, k + 2),
                    _bin(columns, table, terms, k + 3),
                    _bin(columns, table, terms, k + 4),
                    _bin(columns, table, terms, k + 5),
                    _bin(columns, table, terms, k + 6),
                    _bin(columns, table, terms, k + 7),
                )
            )
            at = first * n_fft + k
            store(spread, at, v0)
            store(spread, at + n_fft, v1)
            store(spread, at + 2 * n_fft, v2)
            store(spread, at + 3 * n_fft, v3)
            if members > 4:
                store(spread, at + 4 * n_fft, v4)
                store(spread, at + 5 * n_fft, v5)
                store(spread, at + 6 * n_fft, v6)
                store(spread, at + 7 * n_fft, v7)
        for s in range(first, first + members):
            row = s * n_fft
            for k in range(0, n_fft // 2, LANES):
                store(spread, row + n_fft - LANES - k, reverse(load(spread, row + k + 1)))


@njit(forceinline=True, error_model="numpy")
def _bin(columns, table, terms, k):  # type: ignore[no-untyped-def]
    """The masks of up to eight stems at bin `k`."""
    at = k * terms
    total = load(columns, table.bands[at]) * table.shares[at]
    for i in range(at + 1, at + terms):
        total = total + load(columns, table.bands[i]) * table.shares[i]
    return total
