import numpy as np
import pytest

from rtsep.kernels.fft import join_all, join_some, plan_all, plan_some, transform_lanes

LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]


def _noise(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, n)).astype(np.float32)


def _fft(re, im, factor=None):
    n = re.size
    plan = plan_all(n)
    factor = np.ones(n, np.float32) if factor is None else factor
    lanes, out = np.zeros((2, n), np.float32), np.zeros((2, n), np.float32)
    transform_lanes(re, 0, im, 0, factor, 0, plan.twiddles, lanes[0], lanes[1])
    join_all(lanes[0], lanes[1], plan, out[0], out[1])
    return out


def _relative_error(found, expected):
    return np.abs(found - expected).max() / np.sqrt(np.mean(np.abs(expected) ** 2))


@pytest.mark.parametrize("n", LENGTHS)
def test_forward_is_numpy_s(n):
    re, im = _noise(n)
    found = _fft(re, im)
    expected = np.fft.fft(re.astype(np.float64) + 1j * im)
    assert _relative_error(found[0] + 1j * found[1], expected) < 1e-6


@pytest.mark.parametrize("n", LENGTHS)
def test_parts_exchanged_it_is_the_inverse(n):
    re, im = _noise(n, 1)
    found = _fft(im, re)
    expected = np.fft.ifft(re.astype(np.float64) + 1j * im) * n
    assert _relative_error(found[1] + 1j * found[0], expected) < 1e-6


@pytest.mark.parametrize("n", [64, 2048, 4096])
def test_a_sine_falls_into_its_bin(n):
    k = n // 8 + 3
    phase = 2 * np.pi * k * np.arange(n) / n
    found = _fft(np.cos(phase).astype(np.float32), np.sin(phase).astype(np.float32))
    expected = np.zeros((2, n))
    expected[0, k] = n
    np.testing.assert_allclose(found, expected, atol=2e-6 * n)


def test_sources_and_factor_may_start_anywhere():
    n = 256
    plan = plan_all(n)
    source, factor = _noise(4 * n), _noise(2 * n, 3)[0]
    lanes, out = np.zeros((2, n), np.float32), np.zeros((2, n), np.float32)
    arrays = (plan.twiddles, lanes[0], lanes[1])
    transform_lanes(source, 5, source, 4 * n + 77, factor, 33, *arrays)
    join_all(lanes[0], lanes[1], plan, out[0], out[1])
    signal = (source[0, 5 : 5 + n] + 1j * source[1, 77 : 77 + n]) * factor[33 : 33 + n]
    expected = np.fft.fft(signal.astype(np.complex128))
    assert _relative_error(out[0] + 1j * out[1], expected) < 1e-6


@pytest.mark.parametrize(
    ("n", "outputs"),
    [(64, np.arange(56, 64)), (2048, np.arange(1792, 2048)), (4096, np.arange(8) * 511 + 1)],
)
def test_some_outputs_are_those_of_the_whole(n, outputs):
    re, im = _noise(n, 2)
    plan = plan_some(n, outputs)
    lanes, out = np.zeros((2, n), np.float32), np.zeros((2, outputs.size), np.float32)
    transform_lanes(re, 0, im, 0, np.ones(n, np.float32), 0, plan.twiddles, lanes[0], lanes[1])
    join_some(lanes[0], lanes[1], plan, out[0], out[1])
    expected = np.fft.fft(re.astype(np.float64) + 1j * im)
    scale = np.sqrt(np.mean(np.abs(expected) ** 2))
    assert np.abs(out[0] + 1j * out[1] - expected[outputs]).max() < 1e-6 * scale


def test_one_bad_sample_is_seen_everywhere():
    re, im = _noise(128)
    re[17] = np.nan
    assert np.isnan(_fft(re, im)).all()


@pytest.mark.parametrize("n", [0, 32, 96, 1000])
def test_other_lengths_are_refused(n):
    with pytest.raises(ValueError, match="power of two"):
        plan_all(n)
