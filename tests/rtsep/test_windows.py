import numpy as np
import pytest

from rtsep.presets import PRESETS
from rtsep.rates import NATIVE_RATES
from rtsep.windows import analysis_window, synthesis_window


@pytest.mark.parametrize("sample_rate", NATIVE_RATES)
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_products_of_the_pair_overlap_to_one(preset, sample_rate):
    n_fft = preset.frame_length(sample_rate)
    analysis = analysis_window(n_fft, preset.synthesis).astype(np.float64)
    product = analysis[-preset.synthesis :] * synthesis_window(n_fft, preset.synthesis, preset.hop)
    total = product.reshape(-1, preset.hop).sum(axis=0)
    np.testing.assert_allclose(total, 1.0, atol=2e-7)


@pytest.mark.parametrize("hop", [1, 4, 32, 128])
def test_every_divisor_of_half_the_synthesis_length_is_a_hop(hop):
    product = analysis_window(1024, 256)[-256:] * synthesis_window(1024, 256, hop)
    np.testing.assert_allclose(product.reshape(-1, hop).sum(axis=0), 1.0, atol=1e-6)


def test_the_analysis_window_rises_long_and_falls_short():
    window = analysis_window(2048, 256)
    assert window.dtype == np.float32
    assert window.shape == (2048,)
    assert window[0] == 0.0
    peak = int(np.argmax(window))
    assert peak == 2048 - 128
    assert (np.diff(window[: peak + 1]) >= 0).all()
    assert (np.diff(window[peak:]) < 0).all()


def test_full_length_it_is_the_square_root_of_hann():
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    np.testing.assert_allclose(analysis_window(512, 512), np.sqrt(hann), atol=1e-6)


@pytest.mark.parametrize("synthesis", [0, 15, 4096])
def test_impossible_synthesis_lengths_are_refused(synthesis):
    with pytest.raises(ValueError, match="synthesis window"):
        analysis_window(2048, synthesis)


@pytest.mark.parametrize("hop", [0, 96, 256])
def test_hops_that_do_not_divide_are_refused(hop):
    with pytest.raises(ValueError, match="divisor"):
        synthesis_window(2048, 256, hop)
