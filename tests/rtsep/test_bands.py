import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.bands import band_edges, band_matrix
from rtsep.rates import NATIVE_RATES, rate_factor

SEPARATOR = (-11.71875, 20000.0, 23.4375, 1.045)


@settings(deadline=None, max_examples=30)
@given(
    low=st.floats(-20.0, 500.0),
    span=st.floats(100.0, 20000.0),
    width=st.floats(5.0, 500.0),
    ratio=st.floats(1.01, 2.0),
)
def test_edges_rise_by_the_width_or_the_ratio(low, span, width, ratio):
    edges = band_edges(low, low + span, width, ratio)
    widths = np.diff(edges)
    assert edges[0] == low
    assert edges[-2] < low + span <= edges[-1]
    np.testing.assert_allclose(widths, np.maximum(width, edges[:-1] * (ratio - 1)), rtol=1e-9)


@pytest.mark.parametrize("sample_rate", NATIVE_RATES)
@pytest.mark.parametrize("n_fft", [512, 2048, 4096])
def test_masks_share_every_bin_out_whole(n_fft, sample_rate):
    matrix = band_matrix(
        band_edges(*SEPARATOR), n_fft * rate_factor(sample_rate), sample_rate, cover=True
    )
    assert matrix.dtype == np.float32
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=0), 1.0, atol=2e-6)


def test_features_leave_out_what_lies_beyond_the_bands():
    edges = band_edges(1000.0, 8000.0, 100.0, 1.1)
    matrix = band_matrix(edges, 1024, 48_000, cover=False)
    frequency = np.arange(513) * 48_000 / 1024
    total = matrix.sum(axis=0)
    width = 48_000 / 1024
    outside = (frequency < 1000.0 - width) | (frequency > edges[-1] + width)
    inside = (frequency > 1000.0 + width) & (frequency < edges[-1] - width)
    assert (total[outside] == 0.0).all()
    np.testing.assert_allclose(total[inside], 1.0, atol=2e-6)


def test_one_band_has_the_same_frequencies_at_every_rate():
    edges = band_edges(*SEPARATOR)
    centres = []
    for sample_rate in NATIVE_RATES:
        n_fft = 2048 * rate_factor(sample_rate)
        matrix = band_matrix(edges, n_fft, sample_rate, cover=False)[60]
        frequency = np.arange(matrix.size) * sample_rate / n_fft
        centres.append(np.sum(matrix * frequency) / np.sum(matrix))
    np.testing.assert_allclose(centres, (edges[60] + edges[61]) / 2, rtol=2e-3)
