r"""Complex FFTs of power-of-two length on vectors of eight numbers.

A transform of length N is split into N = 8 n (Cooley and Tukey 1965): eight interleaved
sequences of n points, which stand side by side in memory just as they are, go through
radix-4 decimation in frequency together, one in each lane of a vector.  Then the lanes
are joined:

.. math:: X[j + n t] = \sum_{r=0}^{7} W_8^{r t} W_N^{r j} Z_r[j]

`join_all` gives every X; `join_some` gives any few, each as one inner product, which is
how an inverse transform of which only the end is wanted costs less than a whole one.

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
    order : int64 array, shape (outputs,)
        Where in the transformed lanes the row of each output starts.
    join_re, join_im : float32 array, flat
        The factors of the joining sums, eight for each output.
    """

    twiddles: Floats
    order: Indices
    join_re: Floats
    join_im: Floats


def plan_all(n_fft: int) -> Plan:
    """Tables for a whole transform: `transform_lanes`, then `join_all`.

    Parameters
    ----------
    n_fft : int
        A power of two, at least 64.
    """
    return plan_some(n_fft, np.arange(n_fft // LANES))


def plan_some(n_fft: int, outputs: Indices) -> Plan:
    """Tables for a few outputs of a transform: `transform_lanes`, then `join_some`.

    Parameters
    ----------
    n_fft : int
        A power of two, at least 64.
    outputs : int array
        The indices wanted; a multiple of 8 of them.
    """
    n = n_fft // LANES
    if n_fft & (n_fft - 1) or n < LANES:
        raise ValueError(f"an FFT of {n_fft} points; expected a power of two of at least 64")
    factors = np.exp(-2j * np.pi * np.outer(outputs, np.arange(LANES)) / n_fft)
    return Plan(
        _stage_twiddles(n),
        _output_positions(n)[outputs % n] * LANES,
        factors.real.astype(np.float32).ravel(),
        factors.imag.astype(np.float32).ravel(),
    )


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
def transform_lanes(
    source_re: Floats,
    re_at: int,
    source_im: Floats,
    im_at: int,
    factor: Floats,
    factor_at: int,
    twiddles: Floats,
    re: Floats,
    im: Floats,
) -> None:
    """Transform the eight lanes of a signal that is multiplied by a real factor.

    Parameters
    ----------
    source_re, source_im, factor : float32 array
        The signal is ``source.flat[at : at + n_fft]``, part by part, times
        ``factor.flat[factor_at : factor_at + n_fft]``: a window or a mask.
    re_at, im_at, factor_at : int
    twiddles : float32 array
        `Plan.twiddles`.
    re, im : float32 array, shape (n_fft,)
        Written, rows in digit-reversed order: see `Plan.order`.
    """
    total = re.size
    step = total // 4
    table = 0
    for i0 in range(0, step, LANES):
        i1, i2, i3 = i0 + step, i0 + 2 * step, i0 + 3 * step
        f0, f1 = load(factor, factor_at + i0), load(factor, factor_at + i1)
        f2, f3 = load(factor, factor_at + i2), load(factor, factor_at + i3)
        y0r, y0i, y1r, y1i, y2r, y2i, y3r, y3i = _radix4(
            load(source_re, re_at + i0) * f0,
            load(source_im, im_at + i0) * f0,
            load(source_re, re_at + i1) * f1,
            load(source_im, im_at + i1) * f1,
            load(source_re, re_at + i2) * f2,
            load(source_im, im_at + i2) * f2,
            load(source_re, re_at + i3) * f3,
            load(source_im, im_at + i3) * f3,
        )
        store(re, i0, y0r)
        store(im, i0, y0i)
        _store_turned(re, im, i1, y1r, y1i, twiddles, table)
        _store_turned(re, im, i2, y2r, y2i, twiddles, table + 2)
        _store_turned(re, im, i3, y3r, y3i, twiddles, table + 4)
        table += 6
    while step >= 4 * LANES:
        block = step
        step //= 4
        for j in range(0, step, LANES):
            for i0 in range(j, total, block):
                i1, i2, i3 = i0 + step, i0 + 2 * step, i0 + 3 * step
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
                _store_turned(re, im, i1, y1r, y1i, twiddles, table)
                _store_turned(re, im, i2, y2r, y2i, twiddles, table + 2)
                _store_turned(re, im, i3, y3r, y3i, twiddles, table + 4)
            table += 6
    if step == 2 * LANES:
        for i0 in range(0, total, step):
            i1 = i0 + LANES
            ar, ai, br, bi = load(re, i0), load(im, i0), load(re, i1), load(im, i1)
            store(re, i0, ar + br)
            store(im, i0, ai + bi)
            store(re, i1, ar - br)
            store(im, i1, ai - bi)


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
def join_some(re: Floats, im: Floats, plan: Plan, out_re: Floats, out_im: Floats) -> None:
    """Join eight transformed lanes into the outputs that the plan names."""
    for j in range(0, plan.order.size, LANES):
        r0, i0 = _turned(re, im, plan, j)
        r1, i1 = _turned(re, im, plan, j + 1)
        r2, i2 = _turned(re, im, plan, j + 2)
        r3, i3 = _turned(re, im, plan, j + 3)
        r4, i4 = _turned(re, im, plan, j + 4)
        r5, i5 = _turned(re, im, plan, j + 5)
        r6, i6 = _turned(re, im, plan, j + 6)
        r7, i7 = _turned(re, im, plan, j + 7)
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
def _store_turned(re, im, i, yr, yi, twiddles, table):  # type: ignore[no-untyped-def]
    """Write a butterfly's output, multiplied by its twiddle factor."""
    wr, wi = twiddles[table], twiddles[table + 1]
    store(re, i, yr * wr - yi * wi)
    store(im, i, yr * wi + yi * wr)


@njit(forceinline=True, error_model="numpy")
def _turned(re, im, plan, j):  # type: ignore[no-untyped-def]
    """The eight lanes of output row `j`, each turned by its factor."""
    row = plan.order[j]
    ar, ai = load(re, row), load(im, row)
    wr, wi = load(plan.join_re, j * LANES), load(plan.join_im, j * LANES)
    return ar * wr - ai * wi, ar * wi + ai * wr
