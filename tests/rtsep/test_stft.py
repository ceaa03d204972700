import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python, rtsys

from rtsep.bands import band_edges, band_matrix
from rtsep.presets import PRESETS
from rtsep.rates import NATIVE_RATES
from rtsep.stft import MaskingStft
from rtsep.windows import analysis_window, synthesis_window

EDGES = band_edges(-11.71875, 20000.0, 23.4375, 1.045)


def _make(preset, sample_rate, n_stems=5, channels=2):
    n_fft = preset.frame_length(sample_rate)
    matrix = band_matrix(EDGES, n_fft, sample_rate, cover=True)
    return (
        MaskingStft(
            n_fft=n_fft,
            synthesis=preset.synthesis,
            hop=preset.hop,
            n_stems=n_stems,
            channels=channels,
            mask_matrix=matrix,
        ),
        matrix,
    )


def _small(n_stems=3, channels=2, n_fft=128, synthesis=32, hop=8):
    matrix = band_matrix(EDGES, n_fft, 48_000, cover=True)
    return (
        MaskingStft(
            n_fft=n_fft,
            synthesis=synthesis,
            hop=hop,
            n_stems=n_stems,
            channels=channels,
            mask_matrix=matrix,
        ),
        matrix,
    )


def _noise(channels, n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (channels, n)).astype(np.float32)


def _run(transform, x, masks, n_stems, hop):
    """Stems of a whole signal; `masks` has one row a hop."""
    channels, n = x.shape
    stems = np.zeros((n_stems, channels, n), np.float32)
    out = np.zeros((n_stems, channels, hop), np.float32)
    for i in range(n // hop):
        part = slice(i * hop, (i + 1) * hop)
        transform.process(np.ascontiguousarray(x[:, part]), masks[i % len(masks)], out)
        stems[:, :, part] = out
    return stems


def _reference(x, masks, matrix, n_fft, synthesis, hop):
    """The masked stems, residual excepted, by numpy's real transforms in float64."""
    analysis = analysis_window(n_fft, synthesis).astype(np.float64)
    window = synthesis_window(n_fft, synthesis, hop).astype(np.float64)
    channels, n = x.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (n_fft, 0)))
    n_masked = masks.shape[1] - 1
    stems = np.zeros((n_masked, channels, n + synthesis))
    for i in range(n // hop):
        end = (i + 1) * hop
        spectrum = np.fft.rfft(padded[:, end : end + n_fft] * analysis)
        masked = (masks[i % len(masks), :-1].astype(np.float64) @ matrix)[:, None] * spectrum
        frames = np.fft.irfft(masked)[..., -synthesis:] * window
        # In the output a frame starts where its last hop of input started.
        stems[..., end - hop : end - hop + synthesis] += frames
    return stems[..., :n]


@pytest.mark.parametrize("sample_rate", NATIVE_RATES)
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_unit_masks_reconstruct_perfectly(preset, sample_rate):
    transform, matrix = _make(preset, sample_rate)
    delay, hop = transform.delay_samples, preset.hop
    assert delay == preset.synthesis - hop
    x = _noise(2, delay + 4096)
    delayed = np.pad(x, ((0, 0), (delay, 0)))[:, : x.shape[1]]
    for stem in range(5):
        masks = np.zeros((1, 5, matrix.shape[0]), np.float32)
        masks[0, stem] = 1.0
        transform.reset()
        stems = _run(transform, x, masks, 5, hop)
        expected = np.zeros_like(stems)
        expected[stem] = delayed
        np.testing.assert_allclose(stems, expected, atol=1e-6, rtol=0)
        np.testing.assert_allclose(stems.sum(axis=0), delayed, atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_changing_masks_match_numpy_s_transforms(preset, channels):
    transform, matrix = _make(preset, 44_100, channels=channels)
    x = _noise(channels, preset.synthesis + 8 * preset.hop)
    rng = np.random.default_rng(1)
    masks = rng.random((7, 5, matrix.shape[0])).astype(np.float32)
    stems = _run(transform, x, masks, 5, preset.hop)
    sizes = (preset.frame_length(44_100), preset.synthesis, preset.hop)
    expected = _reference(x, masks, matrix, *sizes)
    np.testing.assert_allclose(stems[:-1], expected, atol=2e-6, rtol=0)


@settings(deadline=None, max_examples=25)
@given(
    log_fft=st.integers(6, 10),
    log_synthesis=st.integers(4, 10),
    log_hop=st.integers(3, 9),
    n_stems=st.integers(1, 11),
    channels=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_stems_sum_to_the_delayed_mix(log_fft, log_synthesis, log_hop, n_stems, channels, seed):
    n_fft = 2**log_fft
    synthesis = min(n_fft, 2**log_synthesis)
    hop = min(synthesis // 2, 2**log_hop)
    transform, matrix = _small(n_stems, channels, n_fft, synthesis, hop)
    x = _noise(channels, hop * 20, seed)
    masks = np.random.default_rng(seed).random((20, n_stems, matrix.shape[0]), np.float32)
    stems = _run(transform, x, masks, n_stems, hop)
    delay = transform.delay_samples
    delayed = np.pad(x, ((0, 0), (delay, 0)))[:, : x.shape[1]]
    np.testing.assert_allclose(stems.sum(axis=0), delayed, atol=1e-5, rtol=0)
    expected = _reference(x, masks, matrix, n_fft, synthesis, hop)
    np.testing.assert_allclose(stems[:-1], expected, atol=5e-6, rtol=0)


def test_the_residual_s_mask_is_not_read():
    transform, matrix = _small()
    x = _noise(2, 64)
    masks = np.zeros((1, 3, matrix.shape[0]), np.float32)
    expected = _run(transform, x, masks, 3, 8)
    masks[0, 2] = np.nan
    transform.reset()
    np.testing.assert_array_equal(_run(transform, x, masks, 3, 8), expected)


def test_reset_forgets_everything():
    transform, matrix = _small()
    masks = np.full((1, 3, matrix.shape[0]), 0.4, np.float32)
    first = _run(transform, _noise(2, 240), masks, 3, 8)
    transform.reset()
    np.testing.assert_array_equal(_run(transform, _noise(2, 240), masks, 3, 8), first)


def test_subnormal_numbers_in_are_zeros_out():
    transform, matrix = _small()
    masks = np.full((1, 3, matrix.shape[0]), 0.4, np.float32)
    stems = _run(transform, np.full((2, 400), 1e-39, np.float32), masks, 3, 8)
    assert (stems == 0.0).all()


def test_a_bad_sample_is_not_hidden_and_passes_with_its_frames():
    transform, matrix = _small()
    x = _noise(2, 400)
    masks = np.full((1, 3, matrix.shape[0]), 0.4, np.float32)
    clean = _run(transform, x, masks, 3, 8)
    x[0, 100] = np.nan
    transform.reset()
    stems = _run(transform, x, masks, 3, 8)
    assert np.isnan(stems[:, 0, 100 + transform.delay_samples]).all()
    np.testing.assert_allclose(stems[..., 300:], clean[..., 300:], atol=1e-6, rtol=0)


def test_process_allocates_nothing():
    transform, matrix = _make(PRESETS["live"], 48_000)
    x, out = _noise(2, 128), np.zeros((5, 2, 128), np.float32)
    masks = np.full((5, matrix.shape[0]), 0.2, np.float32)
    _nrt_python.memsys_enable_stats()
    for _ in range(10):
        transform.process(x, masks, out)

    before = rtsys.get_allocation_stats()
    for _ in range(100):
        transform.process(x, masks, out)
    after = rtsys.get_allocation_stats()
    # Numba's dispatcher makes and frees a header for each array that it is handed, nine
    # here; anything of the kernel's own would come on top.
    assert after.alloc - before.alloc == after.free - before.free == 100 * 9

    tracemalloc.start()
    try:
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            transform.process(x, masks, out)
        grown = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    # One integer, the position, is kept from call to call.
    assert grown < 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 3}, "channels"),
        ({"n_stems": 0}, "stems"),
        ({"hop": 12}, "hop"),
        ({"hop": 32}, "divisor"),
        ({"synthesis": 24}, "16"),
        ({"synthesis": 256}, "between"),
        ({"n_fft": 96}, "mask matrix"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    sizes = {"n_fft": 128, "synthesis": 32, "hop": 8, "n_stems": 3, "channels": 2} | change
    matrix = band_matrix(EDGES, 128, 48_000, cover=True)
    with pytest.raises(ValueError, match=message):
        MaskingStft(**sizes, mask_matrix=matrix)


def test_arrays_of_another_shape_or_type_are_refused():
    transform, matrix = _small()
    x, masks, out = (
        np.zeros((2, 8), np.float32),
        np.zeros((3, matrix.shape[0]), np.float32),
        np.zeros((3, 2, 8), np.float32),
    )
    transform.process(x, masks, out)
    with pytest.raises(ValueError, match="expected"):
        transform.process(x[:, :4], masks, out)
    with pytest.raises(ValueError, match="expected"):
        transform.process(x, masks[:2], out)
    with pytest.raises(ValueError, match="expected"):
        transform.process(x, masks, out[:2])
    with pytest.raises(TypeError):
        transform.process(x.astype(np.float64), masks, out)
    with pytest.raises(TypeError):
        transform.process(x, masks, np.zeros((8, 2, 3), np.float32).T)
