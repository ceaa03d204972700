r"""Complex FFTs of power-of-two length on vectors of eight numbers.

A transform of length N is N = n · lanes (Cooley and Tukey 1965): `lanes` interleaved
sequences of n points each, which stand side by side in memory just as they are, are
transformed in place by radix-4 decimation in frequency, whole vectors at a time, and
then joined:

.. math:: X[j + n t] = \sum_r W_N^{r j} W_{lanes}^{r t} Z_r[j]

`join_all` gives every X (eight lanes); `join_some` gives any few, each as one inner
product, which is how an inverse transform of which only the end is wanted costs less
than a whole one.

Real and imaginary parts are separate flat arrays.  Exchanging the two at input and
output turns a forward transform into an inverse one (without the factor 1/N), so
there are no inverse kernels.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from rtsep.kernels.simd import LANES, load, store, sum_lanes, transpose

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_HALF = np.float32(np.sqrt(0.5))


class Plan(NamedTuple):
    """Tables of one transform.

    Attributes
    ----------
    twiddles : float32 array, flat
        For every radix-4 stage and row: w, w², w³ as (real, imaginary) pairs.
    order : int64 array, shape (n,)
        Where in the transformed lanes the row of output j starts.
    join_re, join_im : float32 array, flat
        The factors of the joining sums, `lanes` for each output row.
    """

    twiddles: Floats
    order: Indices
    join_re: Floats
    join_im: Floats


def plan_all(n_fft: int) -> Plan:
    """Tables for a whole transform with `sub_transforms` and `join_all`.

    Parameters
    ----------
    n_fft : int
        A power of two, at least 64.
    """
    n = _sub_length(n_fft, LANES)
    rows = np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(LANES)) / n_fft)
    return _plan(n, LANES, rows)


def plan_some(n_fft: int, lanes: int, outputs: Indices, gain: npt.NDArray[np.float64]) -> Plan:
    """Tables for a few outputs of a transform with `sub_transforms` and `join_some`.

    Parameters
    ----------
    n_fft : int
        A power of two, at least 8 times `lanes`.
    lanes : int
        A power of two, at least 8.
    outputs : int array
        The indices wanted; a multiple of 8 of them.
    gain : float array, shape of `outputs`
        Factor of every output.
    """
    n = _sub_length(n_fft, lanes)
    rows = np.exp(-2j * np.pi * np.outer(outputs, np.arange(lanes)) / n_fft)
    plan = _plan(n, lanes, rows * gain[:, None])
    return plan._replace(order=plan.order[outputs % n])


def _plan(n: int, lanes: int, rows: npt.NDArray[np.complex128]) -> Plan:
    return Plan(
        _stage_twiddles(n),
        _output_positions(n) * lanes,
        np.ascontiguousarray(rows.real, dtype=np.float32).ravel(),
        np.ascontiguousarray(rows.imag, dtype=np.float32).ravel(),
    )


def _sub_length(n_fft: int, lanes: int) -> int:
    n = n_fft // lanes
    if n_fft < 1 or n_fft & (n_fft - 1) or lanes % LANES or n < LANES:
        raise ValueError(f"an FFT of {n_fft} points; expected a power of two of at least 64")
    return n


def _stage_twiddles(n: int) -> Floats:
    tables = []
    size = n
    while size >= 4:
        powers = np.outer(np.arange(size // 4), (1, 2, 3))
        w = np.exp(-2j * np.pi * powers / size)
        tables.append(np.stack([w.real, w.imag], axis=-1).ravel())
        size //= 4
    return np.concatenate(tables).astype(np.float32)


def _output_positions(n: int) -> Indices:
    """Row in which decimation in frequency leaves each output."""
    if n == 1:
        return np.zeros(1, dtype=np.int64)
    radix = 4 if n >= 4 else 2
    output = np.arange(n)
    inner = _output_positions(n // radix)
    return (output % radix) * (n // radix) + inner[output // radix]


@njit(nogil=True, cache=True, error_model="numpy")
def sub_transforms(re: Floats, im: Floats, n: int, lanes: int, twiddles: Floats) -> None:
    """Transform `lanes` interleaved sequences of `n` points in place.

    The result is in digit-reversed order: see `Plan.order`.
    """
    size = n
    table = 0
    while size >= 4:
        step = (size // 4) * lanes
        for j in range(size // 4):
            w1r, w1i = twiddles[table], twiddles[table + 1]
            w2r, w2i = twiddles[table + 2], twiddles[table + 3]
            w3r, w3i = twiddles[table + 4], twiddles[table + 5]
            table += 6
            for block in range(j * lanes, n * lanes, 4 * step):
                for i0 in range(block, block + lanes, LANES):
                    i1 = i0 + step
                    i2 = i1 + step
                    i3 = i2 + step
                    y0r, y0i, y1r, y1i, y2r, y2i, y3r, y3i = _radix4(
                        load(re, i0),
                        load(im, i0),
                        load(re, i1),
                        load(im, i1),
                        load(re, i2),
                        load(im, i2),
                        load(re, i3),
                        load(im, i3),
                    )
                    store(re, i0, y0r)
                    store(im, i0, y0i)
                    store(re, i1, y1r * w1r - y1i * w1i)
                    store(im, i1, y1r * w1i + y1i * w1r)
                    store(re, i2, y2r * w2r - y2i * w2i)
                    store(im, i2, y2r * w2i + y2i * w2r)
                    store(re, i3, y3r * w3r - y3i * w3i)
                    store(im, i3, y3r * w3i + y3i * w3r)
        size //= 4
    if size == 2:
        for i0 in range(0, n * lanes, 2 * lanes):
            for i in range(i0, i0 + lanes, LANES):
                ar, ai = load(re, i), load(im, i)
                br, bi = load(re, i + lanes), load(im, i + lanes)
                store(re, i, ar + br)
                store(im, i, ai + bi)
                store(re, i + lanes, ar - br)
                store(im, i + lanes, ai - bi)


@njit(nogil=True, cache=True, error_model="numpy")
def join_all(re: Floats, im: Floats, plan: Plan, out_re: Floats, out_im: Floats) -> None:
    """Join eight transformed lanes into the whole transform, in natural order."""
    n = plan.order.size
    for j in range(0, n, LANES):
        r0, i0 = _turned(re, im, plan, j)
        r1, i1 = _turned(re, im, plan, j + 1)
        r2, i2 = _turned(re, im, plan, j + 2)
        r3, i3 = _turned(re, im, plan, j + 3)
        r4, i4 = _turned(re, im, plan, j + 4)
        r5, i5 = _turned(re, im, plan, j + 5)
        r6, i6 = _turned(re, im, plan, j + 6)
        r7, i7 = _turned(re, im, plan, j + 7)
        r0, r1, r2, r3, r4, r5, r6, r7 = transpose((r0, r1, r2, r3, r4, r5, r6, r7))
        i0, i1, i2, i3, i4, i5, i6, i7 = transpose((i0, i1, i2, i3, i4, i5, i6, i7))
        # A transform of eight points: two of four, and the turns by eighths between.
        r0, i0, r2, i2, r4, i4, r6, i6 = _radix4(r0, i0, r2, i2, r4, i4, r6, i6)
        r1, i1, r3, i3, r5, i5, r7, i7 = _radix4(r1, i1, r3, i3, r5, i5, r7, i7)
        r3, i3 = (i3 + r3) * _HALF, (i3 - r3) * _HALF
        r5, i5 = i5, r5
        r7, i7 = (i7 - r7) * _HALF, (i7 + r7) * _HALF
        store(out_re, j, r0 + r1)
        store(out_im, j, i0 + i1)
        store(out_re, j + n, r2 + r3)
        store(out_im, j + n, i2 + i3)
        store(out_re, j + 2 * n, r4 + r5)
        store(out_im, j + 2 * n, i4 - i5)
        store(out_re, j + 3 * n, r6 + r7)
        store(out_im, j + 3 * n, i6 - i7)
        store(out_re, j + 4 * n, r0 - r1)
        store(out_im, j + 4 * n, i0 - i1)
        store(out_re, j + 5 * n, r2 - r3)
        store(out_im, j + 5 * n, i2 - i3)
        store(out_re, j + 6 * n, r4 - r5)
        store(out_im, j + 6 * n, i4 + i5)
        store(out_re, j + 7 * n, r6 - r7)
        store(out_im, j + 7 * n, i6 + i7)


@njit(nogil=True, cache=True, error_model="numpy")
def join_some(
    re: Floats, im: Floats, lanes: int, plan: Plan, out_re: Floats, out_im: Floats
) -> None:
    """Join transformed lanes into the outputs that the plan names, times their gains."""
    for j in range(0, plan.order.size, LANES):
        r0, i0 = _inner(re, im, lanes, plan, j)
        r1, i1 = _inner(re, im, lanes, plan, j + 1)
        r2, i2 = _inner(re, im, lanes, plan, j + 2)
        r3, i3 = _inner(re, im, lanes, plan, j + 3)
        r4, i4 = _inner(re, im, lanes, plan, j + 4)
        r5, i5 = _inner(re, im, lanes, plan, j + 5)
        r6, i6 = _inner(re, im, lanes, plan, j + 6)
        r7, i7 = _inner(re, im, lanes, plan, j + 7)
        store(out_re, j, sum_lanes((r0, r1, r2, r3, r4, r5, r6, r7)))
        store(out_im, j, sum_lanes((i0, i1, i2, i3, i4, i5, i6, i7)))


@njit(forceinline=True, error_model="numpy")
def _radix4(ar, ai, br, bi, cr, ci, dr, di):  # type: ignore[no-untyped-def]
    """Four-point transform of (a, b, c, d), in natural order."""
    er, ei = ar + cr, ai + ci
    fr, fi = ar - cr, ai - ci
    gr, gi = br + dr, bi + di
    hr, hi = br - dr, bi - di
    return er + gr, ei + gi, fr + hi, fi - hr, er - gr, ei - gi, fr - hi, fi + hr


@njit(forceinline=True, error_model="numpy")
def _turned(re, im, plan, j):  # type: ignore[no-untyped-def]
    """The eight lanes of output row `j`, each turned by its factor."""
    row = plan.order[j]
    ar, ai = load(re, row), load(im, row)
    wr, wi = load(plan.join_re, j * LANES), load(plan.join_im, j * LANES)
    return ar * wr - ai * wi, ar * wi + ai * wr


@njit(forceinline=True, error_model="numpy")
def _inner(re, im, lanes, plan, j):  # type: ignore[no-untyped-def]
    """The lanes of output `j` times their factors, added up to eight."""
    row, factor = plan.order[j], j * lanes
    ar, ai = load(re, row), load(im, row)
    wr, wi = load(plan.join_re, factor), load(plan.join_im, factor)
    sr, si = ar * wr - ai * wi, ar * wi + ai * wr
    for lane in range(LANES, lanes, LANES):
        ar, ai = load(re, row + lane), load(im, row + lane)
        wr, wi = load(plan.join_re, factor + lane), load(plan.join_im, factor + lane)
        sr, si = sr + (ar * wr - ai * wi), si + (ar * wi + ai * wr)
    return sr, si
