import numpy as np
import pytest
from numba import njit

from rtsep.kernels.simd import LANES, broadcast, load, reverse, store, sum_lanes, transpose


@njit(cache=True)
def _arithmetic(a, b, factor, out):
    x, y = load(a, 1), load(b, 0)
    store(out, 0, x + y)
    store(out, LANES, x - y)
    store(out, 2 * LANES, x * y)
    store(out, 3 * LANES, x * factor)
    store(out, 4 * LANES, broadcast(factor))
    store(out, 5 * LANES, reverse(x))


@njit(cache=True)
def _rows(a):
    return (
        load(a, 0),
        load(a, 8),
        load(a, 16),
        load(a, 24),
        load(a, 32),
        load(a, 40),
        load(a, 48),
        load(a, 56),
    )


@njit(cache=True)
def _shuffles(a, out, sums):
    c0, c1, c2, c3, c4, c5, c6, c7 = transpose(_rows(a))
    store(out, 0, c0)
    store(out, 8, c1)
    store(out, 16, c2)
    store(out, 24, c3)
    store(out, 32, c4)
    store(out, 40, c5)
    store(out, 48, c6)
    store(out, 56, c7)
    store(sums, 0, sum_lanes(_rows(a)))


def test_arithmetic_is_that_of_numpy_lane_by_lane():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, LANES + 1)).astype(np.float32)
    out = np.zeros((6, LANES), np.float32)
    _arithmetic(a, b, np.float32(1.5), out)
    x, y = a[1:], b[:LANES]
    expected = [x + y, x - y, x * y, x * np.float32(1.5), np.full(LANES, 1.5), x[::-1]]
    np.testing.assert_array_equal(out, np.array(expected, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(value):
    a = np.full(LANES + 1, value, np.float32)
    out = np.zeros((6, LANES), np.float32)
    _arithmetic(a, np.zeros(LANES, np.float32), np.float32(2.0), out)
    assert not np.isfinite(out[[0, 1, 3, 5]]).any()
    assert np.isnan(out[2]).all()


def test_transpose_and_sum_lanes():
    matrix = np.arange(64, dtype=np.float32).reshape(LANES, LANES)
    out, sums = np.zeros_like(matrix), np.zeros(LANES, np.float32)
    _shuffles(matrix, out, sums)
    np.testing.assert_array_equal(out, matrix.T)
    np.testing.assert_array_equal(sums, matrix.sum(axis=1))
