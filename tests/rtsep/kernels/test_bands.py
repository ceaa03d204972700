import numpy as np
import pytest

from rtsep.bands import band_edges, band_matrix
from rtsep.kernels.bands import band_sums, split_power, sum_bands, write_levels, write_pans


@pytest.mark.parametrize("n_fft", [64, 1024])
def test_the_powers_of_both_channels_come_apart(n_fft):
    left, right = np.random.default_rng(0).standard_normal((2, n_fft))
    spectrum = np.fft.fft(left + 1j * right)
    padded = np.concatenate([spectrum, spectrum[:1], np.zeros(7)])
    parts = [np.ascontiguousarray(p, np.float32) for p in (padded.real, padded.imag)]
    powers = np.zeros((2, n_fft // 2 + 8), np.float32)
    split_power(parts[0], parts[1], powers[0], powers[1])
    expected = 4 * np.abs(np.fft.rfft([left, right])) ** 2
    np.testing.assert_allclose(powers[:, : n_fft // 2 + 1], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_bands", [1, 8, 13])
def test_band_sums_are_a_matrix_product(n_bands):
    rng = np.random.default_rng(n_bands)
    matrix = (rng.random((n_bands, 100)) * (rng.random((n_bands, 100)) < 0.1)).astype(np.float32)
    matrix[n_bands // 2] = 0.0
    power = rng.random(107).astype(np.float32)
    table = band_sums(matrix)
    sums = np.zeros(table.first_bin.size, np.float32)
    sum_bands(power, table, sums)
    np.testing.assert_allclose(sums[:n_bands], matrix @ power[:100], rtol=1e-5)
    assert (sums[n_bands:] == 0.0).all()


def test_band_sums_of_real_bands():
    edges = band_edges(30.0, 16000.0, 40.0, 1.06)
    matrix = band_matrix(edges, 2048, 48_000, cover=False)
    power = np.random.default_rng(0).random(1032).astype(np.float32)
    table = band_sums(matrix)
    sums = np.zeros(table.first_bin.size, np.float32)
    sum_bands(power, table, sums)
    np.testing.assert_allclose(sums[: len(matrix)], matrix @ power[:1025], rtol=1e-5)


def test_levels_and_pans_by_their_definition():
    left = np.array([0.0, 1.0, 4.0, 1e-5], np.float32)
    right = np.array([0.0, 1.0, 0.0, 3e-5], np.float32)
    out = np.full(10, 9.0, np.float32)
    write_levels(left, right, 0.5, out, 1, 4)
    write_pans(left, right, 0.5, out, 5, 4)
    a, c = 0.5 * left.astype(np.float64), 0.5 * right.astype(np.float64)
    np.testing.assert_allclose(out[1:5], (10 * np.log10((a + c) / 2 + 1e-9) + 50) / 20, atol=1e-5)
    np.testing.assert_allclose(out[5:9], (a - c) / (a + c + 1e-9), atol=1e-5)
    assert out[0] == 9.0
    assert out[9] == 9.0
    assert out[1] == pytest.approx(-2.0)
