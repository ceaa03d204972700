"""Power of a stereo spectrum in bands, and the feature values made of it."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from rtsep.kernels.simd import LANES, load, reverse, store, sum_lanes

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_FLOOR = np.float32(1e-9)


class BandSums(NamedTuple):
    """A band matrix by its rows: the run of bins of every band and their weights.

    Attributes
    ----------
    first_bin : int64 array, shape (n_bands rounded up to 8,)
    bounds : int64 array, shape (n_bands rounded up to 8, plus 1)
        Where each band's weights start and end; every run is padded to a multiple
        of 8 with zeros.
    weights : float32 array, flat
    """

    first_bin: Indices
    bounds: Indices
    weights: Floats


def band_sums(matrix: Floats) -> BandSums:
    """Tables for `sum_bands`.

    Parameters
    ----------
    matrix : float32 array, shape (n_bands, n_bins)
        Weight of every bin in every band.
    """
    n_bands = matrix.shape[0]
    first_bin = np.zeros(n_bands + -n_bands % LANES, np.int64)
    bounds = np.zeros(first_bin.size + 1, np.int64)
    runs = []
    for b in range(first_bin.size):
        bins = np.flatnonzero(matrix[b]) if b < n_bands else np.zeros(0, np.int64)
        length = int(bins[-1] - bins[0] + 1) if bins.size else 0
        run = np.zeros(max(LANES, length + -length % LANES), np.float32)
        if length:
            first_bin[b] = bins[0]
            run[:length] = matrix[b, bins[0] : bins[-1] + 1]
        runs.append(run)
        bounds[b + 1] = bounds[b] + run.size
    return BandSums(first_bin, bounds, np.concatenate(runs))


@njit(nogil=True, cache=True, error_model="numpy")
def split_power(re: Floats, im: Floats, left: Floats, right: Floats) -> None:
    """Power spectra of left and right out of the transform of left + i right.

    With Z[N-k]* the spectrum of left - i right, the two are half the sum and half the
    difference.

    Parameters
    ----------
    re, im : float32 array, shape (n_fft + 8,)
        Entry `n_fft` repeats entry 0.
    left, right : float32 array, shape (n_fft // 2 + 8,)
        Written up to and with bin ``n_fft // 2``, 4 times the power.
    """
    n_fft = re.size - LANES
    for k in range(0, n_fft // 2, LANES):
        mirror = n_fft - k - (LANES - 1)
        zr, zi = load(re, k), load(im, k)
        mr, mi = reverse(load(re, mirror)), reverse(load(im, mirror))
        ar, ai = zr + mr, zi - mi
        br, bi = zi + mi, zr - mr
        store(left, k, ar * ar + ai * ai)
        store(right, k, br * br + bi * bi)
    nyquist = n_fft // 2
    left[nyquist] = np.float32(4.0) * re[nyquist] * re[nyquist]
    right[nyquist] = np.float32(4.0) * im[nyquist] * im[nyquist]


@njit(nogil=True, cache=True, error_model="numpy")
def sum_bands(power: Floats, table: BandSums, sums: Floats) -> None:
    """Weighted power in every band.

    Parameters
    ----------
    power : float32 array, shape (n_bins + 7 or more,)
        What lies beyond the bins is multiplied by zero.
    table : BandSums
    sums : float32 array, shape (n_bands rounded up to 8,)
        Written.
    """
    for b in range(0, table.first_bin.size, LANES):
        store(
            sums,
            b,
            sum_lanes(
                (
                    _band(power, table, b),
                    _band(power, table, b + 1),
                    _band(power, table, b + 2),
                    _band(power, table, b + 3),
                    _band(power, table, b + 4),
                    _band(power, table, b + 5),
                    _band(power, table, b + 6),
                    _band(power, table, b + 7),
                )
            ),
        )


@njit(forceinline=True, error_model="numpy")
def _band(power, table, b):  # type: ignore[no-untyped-def]
    start, stop = table.bounds[b], table.bounds[b + 1]
    k = table.first_bin[b]
    total = load(table.weights, start) * load(power, k)
    for i in range(LANES, stop - start, LANES):
        total = total + load(table.weights, start + i) * load(power, k + i)
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def write_levels(left: Floats, right: Floats, gain: Any, out: Floats, at: int, n: int) -> None:
    """Level of each band: 0 at -50 dB, one unit for 20 dB, floor at -90 dB."""
    half = np.float32(0.5) * np.float32(gain)
    for b in range(n):
        power = half * (left[b] + right[b]) + _FLOOR
        out[at + b] = np.float32(0.5) * np.log10(power) + np.float32(2.5)


@njit(nogil=True, cache=True, error_model="numpy")
def write_pans(left: Floats, right: Floats, gain: Any, out: Floats, at: int, n: int) -> None:
    """Position of each band between left (1) and right (-1)."""
    scale = np.float32(gain)
    for b in range(n):
        a, c = scale * left[b], scale * right[b]
        out[at + b] = (a - c) / (a + c + _FLOOR)
