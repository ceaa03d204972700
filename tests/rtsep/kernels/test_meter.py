import numpy as np
import pytest

from rtsep.kernels.meter import measure


@pytest.mark.parametrize("n", [1, 7, 128, 1000])
def test_peak_and_mean_square(n):
    block = np.random.default_rng(n).standard_normal((5, 2, n)).astype(np.float32)
    peak, mean_square = np.zeros((2, 5, 2), np.float32)
    measure(block, peak, mean_square)
    np.testing.assert_array_equal(peak, np.abs(block).max(axis=-1))
    np.testing.assert_allclose(mean_square, np.mean(np.square(block), axis=-1), rtol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_bad_sample_shows_in_its_channel_alone(sign):
    block = np.ones((2, 2, 64), np.float32)
    block[1, 0, 30] = sign * np.nan
    peak, mean_square = np.zeros((2, 2, 2), np.float32)
    measure(block, peak, mean_square)
    bad = np.array([[False, False], [True, False]])
    np.testing.assert_array_equal(np.isnan(peak), bad)
    np.testing.assert_array_equal(np.isnan(mean_square), bad)
