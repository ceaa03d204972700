import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from rtsep.bands import band_edges, band_matrix
from rtsep.features import FeatureExtractor
from rtsep.manifest import FrontEnd
from rtsep.rates import NATIVE_RATES, rate_factor
from rtsep.windows import analysis_window

FINE = FrontEnd(
    n_fft=2048,
    synthesis=256,
    min_hz=-11.71875,
    max_hz=20000.0,
    min_width_hz=23.4375,
    ratio=1.045,
    values=("level", "pan"),
)
FAST = FrontEnd(
    n_fft=512,
    synthesis=512,
    min_hz=60.0,
    max_hz=16000.0,
    min_width_hz=100.0,
    ratio=1.2,
    values=("pan", "level"),
)


def _reference(front_ends, sample_rate, past):
    """The definition in `rtsep.features`, in float64 with numpy's real transform."""
    features = []
    for end in front_ends:
        n_fft = end.n_fft * rate_factor(sample_rate)
        window = analysis_window(n_fft, end.synthesis * rate_factor(sample_rate))
        window = window.astype(np.float64)
        edges = band_edges(end.min_hz, end.max_hz, end.min_width_hz, end.ratio)
        matrix = band_matrix(edges, n_fft, sample_rate, cover=False)
        newest = np.pad(past.astype(np.float64), ((0, 0), (n_fft, 0)))[:, -n_fft:]
        power = np.abs(np.fft.rfft(newest * window)) ** 2 @ matrix.T * (2 / np.sum(window)) ** 2
        left, right = power[0], power[-1]
        values = {
            "level": (10 * np.log10((left + right) / 2 + 1e-9) + 50) / 20,
            "pan": (left - right) / (left + right + 1e-9),
        }
        features += [values[value] for value in end.values]
    return np.concatenate(features)


def _music(channels, n, seed=0):
    """Decaying tones at changing pans, over a little noise, with a silence."""
    rng = np.random.default_rng(seed)
    x = 1e-3 * rng.standard_normal((channels, n))
    time = np.arange(n)
    for start in range(0, n, 1500):
        age = time[start:] - start
        tone = np.exp(-age / 3000) * np.sin(age * rng.uniform(0.005, 0.8))
        x[:, start:] += rng.uniform(0, 0.3, (channels, 1)) * tone
    x[:, n // 2 : n // 2 + 3000] = 0.0
    return x.astype(np.float32)


def _hops(extractor, x, hop):
    out = np.zeros(extractor.n_features, np.float32)
    for start in range(0, x.shape[1] - hop + 1, hop):
        extractor.process(np.ascontiguousarray(x[:, start : start + hop]), out)
        yield start + hop, out.copy()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", NATIVE_RATES)
def test_features_follow_their_definition(sample_rate, channels):
    hop = 256 * rate_factor(sample_rate)
    front_ends = (FINE, FAST)
    extractor = FeatureExtractor(front_ends, sample_rate=sample_rate, channels=channels, hop=hop)
    x = _music(channels, 40 * hop)
    for end, features in _hops(extractor, x, hop):
        expected = _reference(front_ends, sample_rate, x[:, :end])
        assert features.shape == expected.shape
        np.testing.assert_allclose(features, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("hop", [100, 480, 3000])
def test_any_hop_will_do(hop):
    extractor = FeatureExtractor((FINE, FAST), sample_rate=48_000, channels=2, hop=hop)
    x = _music(2, 9000)
    for end, features in _hops(extractor, x, hop):
        expected = _reference((FINE, FAST), 48_000, x[:, :end])
        np.testing.assert_allclose(features, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("values", [("level",), ("pan",), ("pan", "level")])
def test_values_stand_in_the_order_of_the_manifest(values):
    both = FeatureExtractor((FAST,), sample_rate=48_000, channels=2, hop=256)
    end = FrontEnd(
        **{name: getattr(FAST, name) for name in FAST.__struct_fields__} | {"values": values}
    )
    some = FeatureExtractor((end,), sample_rate=48_000, channels=2, hop=256)
    n_bands = both.n_features // 2
    assert some.n_features == n_bands * len(values)
    x = _music(2, 256)
    a, b = np.zeros(both.n_features, np.float32), np.zeros(some.n_features, np.float32)
    both.process(x, a)
    some.process(x, b)
    rows = dict(zip(("pan", "level"), a.reshape(2, n_bands), strict=True))
    np.testing.assert_array_equal(b.reshape(-1, n_bands), [rows[value] for value in values])


def test_silence_is_the_floor_in_the_middle():
    extractor = FeatureExtractor((FINE,), sample_rate=48_000, channels=2, hop=256)
    out = np.zeros(extractor.n_features, np.float32)
    extractor.process(np.zeros((2, 256), np.float32), out)
    level, pan = out.reshape(2, -1)
    np.testing.assert_allclose(level, -2.0, atol=1e-5)
    np.testing.assert_array_equal(pan, 0.0)


def test_left_alone_pans_left():
    extractor = FeatureExtractor((FINE,), sample_rate=48_000, channels=2, hop=2048)
    x = np.zeros((2, 2048), np.float32)
    x[0] = np.random.default_rng(0).uniform(-1, 1, 2048)
    out = np.zeros(extractor.n_features, np.float32)
    extractor.process(x, out)
    np.testing.assert_allclose(out.reshape(2, -1)[1], 1.0, atol=1e-4)


def test_reset_forgets_everything():
    extractor = FeatureExtractor((FINE,), sample_rate=48_000, channels=1, hop=256)
    x = _music(1, 2560)
    first = [features for _, features in _hops(extractor, x, 256)]
    extractor.reset()
    again = [features for _, features in _hops(extractor, x, 256)]
    np.testing.assert_array_equal(first, again)


def test_process_allocates_the_dispatcher_s_headers_only():
    extractor = FeatureExtractor((FINE,), sample_rate=48_000, channels=2, hop=256)
    x, out = _music(2, 256), np.zeros(extractor.n_features, np.float32)
    _nrt_python.memsys_enable_stats()
    extractor.process(x, out)
    before = rtsys.get_allocation_stats()
    for _ in range(10):
        extractor.process(x, out)
    after = rtsys.get_allocation_stats()
    # Two arrays go to the history, six to the front end.
    assert after.alloc - before.alloc == after.free - before.free == 10 * (2 + 6)


def test_what_cannot_be_served_is_refused():
    with pytest.raises(ValueError, match="front ends"):
        FeatureExtractor((), sample_rate=48_000, channels=2, hop=256)
    with pytest.raises(ValueError, match="channels"):
        FeatureExtractor((FINE,), sample_rate=48_000, channels=7, hop=256)
    with pytest.raises(ValueError, match="hop"):
        FeatureExtractor((FINE,), sample_rate=48_000, channels=2, hop=0)
    with pytest.raises(ValueError, match="rate"):
        FeatureExtractor((FINE,), sample_rate=22_050, channels=2, hop=256)


def test_arrays_of_another_shape_or_type_are_refused():
    extractor = FeatureExtractor((FAST,), sample_rate=48_000, channels=2, hop=256)
    x, out = np.zeros((2, 256), np.float32), np.zeros(extractor.n_features, np.float32)
    with pytest.raises(ValueError, match="expected"):
        extractor.process(x[:1], out)
    with pytest.raises(ValueError, match="expected"):
        extractor.process(x, out[1:])
    with pytest.raises(TypeError):
        extractor.process(x, out.astype(np.float64))
