"""Reading at another speed, measured with sines."""

import numpy as np
import pytest

from rtsep.kernels.simd import LANES
from rtsep.kernels.varispeed import HALF, PHASES, SCRATCH, TAPS, varispeed, varispeed_filters

Floats = np.ndarray
ROWS = varispeed_filters()
N = 1 << 14


def play(x: Floats, speed: float, n: int = N, block: int = 128) -> Floats:
    """Read `x` [channels, m] from sample HALF on, block by block."""
    channels = x.shape[0]
    out = np.zeros((channels, n), np.float32)
    piece = np.full((channels, block), np.nan, np.float32)
    scratch, starts = np.zeros(SCRATCH, np.float32), np.zeros(LANES, np.int64)
    position = float(HALF)
    for start in range(0, n, block):
        count = min(block, n - start)
        position = varispeed(
            *(x.ravel(), x.shape[1], position, speed, channels, count, ROWS.ravel()),
            *(scratch, starts, piece.ravel(), block),
        )
        out[:, start : start + count] = piece[:, :count]
    return out


def sine(hertz: float, rate: int, n: int = N + 400) -> Floats:
    return (0.5 * np.sin(2 * np.pi * hertz / rate * np.arange(n))).astype(np.float32)[None]


def fit(y: Floats, hertz: float, rate: float) -> tuple[float, float]:
    """Height of the sine in `y`, and the root mean square of all that is not the sine."""
    angle = 2 * np.pi * hertz / rate * np.arange(y.shape[0])
    base = np.stack([np.sin(angle), np.cos(angle), np.ones_like(angle)], axis=1)
    weights, *_ = np.linalg.lstsq(base, y.astype(np.float64), rcond=None)
    rest = y - base @ weights
    return float(np.hypot(*weights[:2])), float(np.sqrt(np.mean(rest**2)))


@pytest.mark.parametrize("ppm", [-500, -200, -3, 0, 200, 500])
@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_distortion_and_noise_of_a_sine_are_90_db_down(rate: int, ppm: int) -> None:
    speed = 1.0 + ppm * 1e-6
    y = play(sine(1000.0, rate), speed)[0]
    height, rest = fit(y, 1000.0 * speed, rate)
    assert height == pytest.approx(0.5, rel=1e-4)
    assert 20 * np.log10(rest / (height / np.sqrt(2))) < -110


@pytest.mark.parametrize("hertz", [20.0, 5000.0, 12_000.0, 18_000.0])
@pytest.mark.parametrize("rate", [44_100, 48_000, 88_200, 96_000])
def test_it_is_flat_to_18_khz(rate: int, hertz: float) -> None:
    for speed in (1 - 200e-6, 1 + 200e-6):
        height, rest = fit(play(sine(hertz, rate), speed)[0], hertz * speed, rate)
        assert 20 * np.log10(height / 0.5) == pytest.approx(0.0, abs=0.01)
        assert 20 * np.log10(rest / height) < -85


def test_at_speed_one_from_a_whole_position_nothing_changes() -> None:
    x = np.random.default_rng(0).standard_normal((3, 1000)).astype(np.float32)
    np.testing.assert_array_equal(play(x, 1.0, 900), x[:, HALF : HALF + 900])


def test_channels_are_independent_and_blocks_do_not_matter() -> None:
    x = np.random.default_rng(1).standard_normal((12, 1200)).astype(np.float32)
    together = play(x, 1.0003, 1000, 128)
    for block in (1, 37, 1000):
        np.testing.assert_array_equal(play(x, 1.0003, 1000, block), together)
    for channel in (0, 5, 11):
        alone = play(x[channel : channel + 1], 1.0003, 1000, 128)
        np.testing.assert_array_equal(alone[0], together[channel])


def test_filters_are_a_half_sample_pair() -> None:
    np.testing.assert_allclose(ROWS, ROWS[::-1, ::-1], atol=1e-7)
    np.testing.assert_allclose(ROWS.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(ROWS[0], np.eye(1, TAPS, HALF - 1)[0], atol=1e-7)
    assert ROWS.shape == (PHASES + 1, TAPS)
