import numpy as np
import pytest

from rtsep.bands import band_edges, band_matrix
from rtsep.kernels.masks import spread_masks, spread_table

EDGES = band_edges(-11.71875, 20000.0, 23.4375, 1.045)


def _spread(masks, matrix):
    n_fft = 2 * (matrix.shape[1] - 1)
    count, n_bands = masks.shape
    out = np.full((-(-count // 8) * 8, n_fft), 7.0, np.float32)
    columns = np.zeros(8 * n_bands, np.float32)
    spread_masks(masks, count, spread_table(matrix), columns, out.reshape(-1), n_fft)
    return out[:count]


def _expected(masks, matrix):
    half = masks.astype(np.float64) @ matrix
    return np.concatenate([half, half[:, -2:0:-1]], axis=1)


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9, 17])
@pytest.mark.parametrize("n_fft", [64, 2048])
def test_bins_get_their_share_and_negative_ones_the_same(count, n_fft):
    matrix = band_matrix(EDGES, n_fft, 44_100, cover=True)
    masks = np.random.default_rng(count).random((count, matrix.shape[0])).astype(np.float32)
    np.testing.assert_allclose(_spread(masks, matrix), _expected(masks, matrix), atol=1e-6)


def test_any_matrix_will_do():
    rng = np.random.default_rng(0)
    matrix = rng.random((5, 129)).astype(np.float32) * (rng.random((5, 129)) < 0.5)
    masks = rng.random((3, 5)).astype(np.float32)
    np.testing.assert_allclose(_spread(masks, matrix), _expected(masks, matrix), atol=1e-6)


def test_next_to_nothing_is_nothing_but_nan_is_nan():
    matrix = band_matrix(EDGES, 256, 48_000, cover=True)
    masks = np.full((2, matrix.shape[0]), 1e-39, np.float32)
    masks[1] = np.nan
    found = _spread(masks, matrix)
    assert (found[0] == 0.0).all()
    assert np.isnan(found[1]).all()
